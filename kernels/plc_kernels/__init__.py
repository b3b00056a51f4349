"""Compiled signal kernels: pure functions of arrays, no input or output, no state of their own."""
