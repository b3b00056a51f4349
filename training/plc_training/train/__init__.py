"""One training: recipe, loop, checkpoints, log and display."""
