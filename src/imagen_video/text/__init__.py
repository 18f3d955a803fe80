"""Frozen text encoders: a prompt becomes token states, and captions are encoded once and kept."""
