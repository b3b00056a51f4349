"""The AR kernels and the same recursions in C, which is compiled with gcc for the occasion."""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.errors import MissingExtraError
from plc_bench.base.synth import music
from plc_kernels.signal import ar

GCC_FLAGS = ("-O3", "-march=native", "-ffast-math")
# Samples, order; the extrapolation continues by 512 samples.
FIT_SIZES = ((2048, 256), (4096, 512), (4096, 1024))
EXTRAPOLATE_ORDERS = (256, 1024)
EXTRAPOLATE_SAMPLES = 512
_SAMPLE_RATE = 48_000

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Fit:
    """Arrays of one fit; each way to compute it writes ``predictor``."""

    x: NDArray[np.float32]
    order: int
    work: ar.ArWorkspace
    predictor: NDArray[np.float64]

    @classmethod
    def allocate(cls, samples: int, order: int) -> "Fit":
        """Return a fit to the newest samples of synthetic music."""
        piece = music(_SAMPLE_RATE, 1.0)[:, 0]
        x = np.ascontiguousarray(piece[-samples:])
        return cls(x, order, ar.ArWorkspace.allocate(samples, order), np.empty(order + 1))

    def kernel(self) -> None:
        """Fit with the kernel."""
        work = self.work
        ar.burg(self.order, self.x, work.forward, work.backward, work.mirror, self.predictor)

    def in_c(self, function: "ctypes._NamedFuncPointer") -> Call:
        """Return a call that fits with ``burg`` in C."""
        work = self.work
        arrays = (self.x, work.forward, work.backward, work.mirror, self.predictor)
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]
        order, samples = ctypes.c_int(self.order), ctypes.c_int(self.x.size)
        return lambda: function(order, samples, *pointers)


@dataclass(frozen=True, slots=True)
class Extrapolation:
    """Arrays of one extrapolation; each way writes the end of ``line``."""

    taps: NDArray[np.float64]
    line: NDArray[np.float64]

    @classmethod
    def allocate(cls, order: int) -> "Extrapolation":
        """Return an extrapolation by a predictor of ``order``, fitted to music."""
        fit = Fit.allocate(4 * order, order)
        fit.kernel()
        taps = -fit.predictor[:0:-1].copy()
        line = np.zeros(order + EXTRAPOLATE_SAMPLES)
        line[:order] = fit.x[-order:]
        return cls(taps, line)

    def kernel(self) -> None:
        """Extrapolate with the kernel."""
        ar.extrapolate(self.taps, self.line)

    def in_c(self, function: "ctypes._NamedFuncPointer") -> Call:
        """Return a call that extrapolates with the C library's ``extrapolate``."""
        taps = self.taps.ctypes.data_as(ctypes.c_void_p)
        line = self.line.ctypes.data_as(ctypes.c_void_p)
        order, count = ctypes.c_int(self.taps.size), ctypes.c_int(EXTRAPOLATE_SAMPLES)
        return lambda: function(order, count, taps, line)


@contextmanager
def c_library() -> Iterator[ctypes.CDLL]:
    """Compile ``burg_reference.c`` into a temporary folder; yield it.

    Raises
    ------
    MissingExtraError
        If gcc is not installed.
    """
    gcc = shutil.which("gcc")
    if gcc is None:
        raise MissingExtraError("the comparison with C needs gcc (Debian: apt-get install gcc)")
    source = Path(__file__).with_name("burg_reference.c")
    with tempfile.TemporaryDirectory() as folder:
        code, library = f"{folder}/burg_reference.o", f"{folder}/burg_reference.so"
        subprocess.run([gcc, *GCC_FLAGS, "-fPIC", "-c", "-o", code, str(source)], check=True)
        # Linked without -ffast-math: with it, loading the library would turn denormal numbers
        # off in the whole process.
        subprocess.run([gcc, "-shared", "-o", library, code, "-lm"], check=True)
        yield ctypes.CDLL(library)
