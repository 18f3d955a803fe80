"""Prepared samples on disk: what is stored of a clip, how it is written, read and verified."""
