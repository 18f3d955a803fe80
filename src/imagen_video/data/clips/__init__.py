"""What a clip is before it is decoded: where its bytes lie, its label, its format, its faults."""
