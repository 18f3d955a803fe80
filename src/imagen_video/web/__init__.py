"""The web page and the HTTP API: a queue of jobs, a gallery on disk, and the pages around them."""
