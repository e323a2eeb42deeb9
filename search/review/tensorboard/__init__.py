"""The TensorBoard log of a search, and a server that shows it."""
