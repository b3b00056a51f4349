"""A training: its recipe, the loop, checkpoints, and what is shown and written down."""
