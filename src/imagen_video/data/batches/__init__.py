"""What the steps of a training are fed."""
