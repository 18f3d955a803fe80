"""Which clips are there, and which label belongs to each."""
