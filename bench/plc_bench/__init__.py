"""Metrics, timing and comparisons: what proves the engine's latency and quality."""
