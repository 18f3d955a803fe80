"""Networks that turn clips into vectors, and distances between sets of vectors."""
