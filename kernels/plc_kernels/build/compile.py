"""The one place that says how a kernel is compiled: ahead, in the package, or here, by numba.

Where the package brings machine code (:mod:`~plc_kernels.build.library`), a kernel is its function
there, what kernels call is not looked at, and numba is not imported.
"""

from typing import TYPE_CHECKING, Any

from plc_kernels.build.library import FUNCTIONS, bound

if TYPE_CHECKING or FUNCTIONS is None:
    from llvmlite import ir as ir
    from numba import types as types
    from numba.core import cgutils as cgutils
    from numba.core.errors import RequireLiteralValue as RequireLiteralValue
    from numba.extending import intrinsic as intrinsic
    from numba.np.arrayobj import populate_array as populate_array
    from numba.np.numpy_support import carray as carray
    from numba.np.numpy_support import from_dtype as from_dtype

    from plc_kernels.build import jit

    kernel, part, rounded_part, inlined = jit.kernel, jit.part, jit.rounded_part, jit.inlined
    refused = jit.refused
else:

    class _Absent:
        """A stand-in for imports that only compiling needs: its attributes do nothing."""

        def __getattr__(self, name: str) -> "_Absent":
            return self

        def __call__(self, *given: Any, **named: Any) -> "_Absent":
            return self

    def part(function: Any) -> Any:
        """Return a function that only kernels call, as it is."""
        return function

    kernel, inlined, rounded_part, refused = bound, part, part, {}
    ir = types = cgutils = RequireLiteralValue = intrinsic = _Absent()
    populate_array = carray = from_dtype = intrinsic
