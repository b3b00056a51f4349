"""The step of a stream as object files, which run without Python.

numba writes LLVM text; LLVM makes object files of it, for this processor's family and for others
(:mod:`~plc_kernels.build.targets`). The code calls nothing but the C library's mathematics.
:func:`~plc_kernels.emit.objects.emit_objects` does so in processes of their own, as numba
reads the processor's name once.
"""
