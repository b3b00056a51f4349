"""Metrics, timing and comparisons of the engine."""
