"""Networks as kernels on flat arrays: functions, products, a forward pass."""
