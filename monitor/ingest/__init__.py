"""Sources: from a URL to cut samples in a bounded mailbox, one thread a stream."""
