"""Tasks: inputs of a network, its loss and its figures."""
