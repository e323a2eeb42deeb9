"""What a search prints: tables, progress, one trial in detail."""
