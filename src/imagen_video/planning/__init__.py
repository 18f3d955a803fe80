"""What training a stage takes, found before the first GPU hour: memory, choices, the command."""
