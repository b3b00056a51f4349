"""Kernels that only the networks and measurements of papers use; the engine calls none."""
