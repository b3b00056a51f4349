"""What a network is shown, its loss and its figures: one module a task."""
