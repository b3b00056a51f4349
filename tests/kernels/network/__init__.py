"""Tests of networks as kernels."""
