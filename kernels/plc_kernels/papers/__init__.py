"""Kernels of papers, for networks and measurements; the engine calls none."""
