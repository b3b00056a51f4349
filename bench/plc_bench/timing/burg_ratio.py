"""The AR kernels beside the same recursions in C: ``plc bench kernels``.

``burg_reference.c`` is compiled with gcc for the occasion. Kernel and C run in turn, round by
round in one process, so that both see the same clock rate and the same neighbours. The ratio is
that of their fastest rounds, which a shared machine disturbs least.
"""

import ctypes
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError, MissingExtraError
from plc.extras import install_command
from plc_bench.base.synth import music
from plc_bench.base.tables import Cell, Table
from plc_kernels import ar

GCC_FLAGS = ("-O3", "-march=native", "-ffast-math")
# The kernels may take this much longer than C.
RATIO_MAX = 1.6
# Samples, order; the extrapolation continues by 512 samples.
FIT_SIZES = ((2048, 256), (4096, 512), (4096, 1024))
EXTRAPOLATE_ORDERS = (256, 1024)
EXTRAPOLATE_SAMPLES = 512
_SAMPLE_RATE = 48_000

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Timing:
    """A kernel and its C twin.

    Attributes
    ----------
    name : str
        Kernel and size.
    kernel_ms, c_ms : float
        Fastest round of each.
    kernel_median_ms, c_median_ms : float
        Median round of each.
    plain_c_ms : float or None
        Fastest round of Burg's method in C with one stage a pass.
    """

    name: str
    kernel_ms: float
    c_ms: float
    kernel_median_ms: float
    c_median_ms: float
    plain_c_ms: float | None

    @property
    def ratio(self) -> float:
        """Kernel over the faster of the C forms, fastest rounds."""
        return self.kernel_ms / min(self.c_ms, self.plain_c_ms or self.c_ms)


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
        """Return a call that fits with ``burg`` or ``burg_plain`` in C."""
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
        """Return an extrapolation of the music that :meth:`Fit.allocate` fits to."""
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


def measure_ratios(rounds: int = 200) -> list[Timing]:
    """Time each kernel and its C twin over ``rounds`` rounds.

    Raises
    ------
    MissingExtraError
        If gcc is not installed.
    """
    timings = []
    with c_library() as c:
        for samples, order in FIT_SIZES:
            fit = Fit.allocate(samples, order)
            calls = (fit.kernel, fit.in_c(c.burg), fit.in_c(c.burg_plain))
            timings.append(_timing(f"Burg {samples}/{order}", _interleaved(calls, rounds)))
        for order in EXTRAPOLATE_ORDERS:
            line = Extrapolation.allocate(order)
            name = f"extrapolate {EXTRAPOLATE_SAMPLES}/{order}"
            calls_ms = _interleaved((line.kernel, line.in_c(c.extrapolate)), rounds)
            timings.append(_timing(name, calls_ms))
    return timings


def time_every_kernel(json_file: Path | None = None) -> int:
    """Run the pytest-benchmark files of ``bench/kernels``; return pytest's exit status.

    Raises
    ------
    ConfigError
        If this is not a checkout.
    MissingExtraError
        If pytest-benchmark is not installed.
    """
    folder = Path(__file__).parents[2] / "kernels"
    if not folder.is_dir():
        raise ConfigError("the benchmarks of every kernel are in a checkout: bench/kernels")
    if not find_spec("pytest_benchmark"):
        raise MissingExtraError(f"this needs pytest-benchmark: {install_command('test')}")
    command = [sys.executable, "-m", "pytest", "-q", "--benchmark-enable", str(folder)]
    if json_file:
        command.append(f"--benchmark-json={json_file.absolute()}")
    return subprocess.run(command, cwd=folder.parents[1], check=False).returncode


def ratio_table(timings: list[Timing]) -> Table:
    """Return a row for each kernel."""
    table = Table(
        "kernels against C; ms of the fastest round",
        ("samples/order", "kernel", "median", "C", "median", "unpaired C", "ratio"),
    )
    for timing in timings:
        table.add(
            timing.name,
            f"{timing.kernel_ms:.3f}",
            f"{timing.kernel_median_ms:.3f}",
            f"{timing.c_ms:.3f}",
            f"{timing.c_median_ms:.3f}",
            "" if timing.plain_c_ms is None else f"{timing.plain_c_ms:.3f}",
            Cell(f"{timing.ratio:.2f}", style="red" if timing.ratio > RATIO_MAX else ""),
        )
    return table


def _timing(name: str, times_ms: NDArray[np.float64]) -> Timing:
    fastest, median = times_ms.min(axis=1), np.median(times_ms, axis=1)
    return Timing(
        name,
        kernel_ms=float(fastest[0]),
        c_ms=float(fastest[1]),
        kernel_median_ms=float(median[0]),
        c_median_ms=float(median[1]),
        plain_c_ms=float(fastest[2]) if len(fastest) > 2 else None,
    )


def _interleaved(calls: tuple[Call, ...], rounds: int) -> NDArray[np.float64]:
    """Return the duration of each call in each round: float64, shape (calls, rounds), in ms."""
    for call in calls:
        call()
    times_ns = np.empty((len(calls), rounds))
    for i in range(rounds):
        for number, call in enumerate(calls):
            start = time.perf_counter_ns()
            call()
            times_ns[number, i] = time.perf_counter_ns() - start
    return times_ns / 1e6
