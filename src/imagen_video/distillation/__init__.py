"""From many steps with two passes each to a few steps with one (paper, distillation section)."""
