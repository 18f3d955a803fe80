"""What a single clip shows, and how well it shows it."""
