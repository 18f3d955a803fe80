"""What is judged: prompts, clips, real renders of the same scenes, clips with known faults."""
