"""What is wrong with the clips that were found, and which stages they serve."""
