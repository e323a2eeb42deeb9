"""What people read about a search: page, terminal, TensorBoard."""
