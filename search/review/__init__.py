"""What a person reads of a search."""
