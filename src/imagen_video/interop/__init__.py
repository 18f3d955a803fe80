"""Together with diffusers: its pipelines as our base, and our cascade as one of its pipelines."""
