"""Kernels of time and frequency: transforms, and phase made from magnitudes."""
