"""Networks, tasks and comparisons of papers."""
