"""What to try next: spaces, samplers and their proposals."""
