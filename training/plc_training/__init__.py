"""Training of the context encoder."""
