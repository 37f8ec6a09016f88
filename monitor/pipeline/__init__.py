"""From mailboxes to scores: batching, the inference thread, one task a stream."""
