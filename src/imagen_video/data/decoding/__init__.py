"""From the bytes of a clip to its shape and its frames."""
