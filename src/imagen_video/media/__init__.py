"""Pictures and video files: uint8 RGB outside, floats in [-1, 1] inside."""
