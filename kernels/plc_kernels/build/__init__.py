"""How kernels become machine code: by numba on this machine, or ahead, for Python, C and wasm."""
