"""Many videos on many machines: each stage an actor pool of its own size, on Ray Data."""
