"""Shared parts of the benchmarks: clips, workers, progress, results, comparisons."""
