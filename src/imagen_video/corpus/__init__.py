"""The demo corpus: named animations, drawings, solids and words, composed into captioned scenes."""
