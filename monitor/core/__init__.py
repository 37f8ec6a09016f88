"""Pure parts: numpy and the standard library; no await, clock, I/O, log or thread."""
