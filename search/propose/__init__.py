"""What is tried next: samplers and their proposals."""
