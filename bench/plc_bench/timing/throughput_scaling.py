"""Streams on several cores, in processes or in threads.

Kernels release Python's global lock, their callers do not: the speed-up by threads shows the
compiled share of a push. All workers begin together; the time is from the first's begin to the
last's end, by a clock that all processes of a machine share.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from plc.apps import children
from plc.processor_time import usable_cores
from plc_bench.timing.stream import TimedStream
from plc_bench.timing.throughput import Crowd

PROCESSES, THREADS = WORKERS = ("processes", "threads")
# Enough that turning from one to the next is part of it.
_STREAMS_EACH = 4
_WARM_UP_TICKS = 20
# A worker that never comes is a worker that failed.
_TOGETHER_S = 180.0

_barrier: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Throughput of several workers.

    Attributes
    ----------
    workers : str
        ``"processes"`` or ``"threads"``.
    count : int
        How many.
    streams : int
        Of all of them.
    real_time_factor : float
        Audio time of all streams over wall time.
    efficiency : float
        That over ``count`` times the factor of one worker of the same kind.
    """

    workers: str
    count: int
    streams: int
    real_time_factor: float
    efficiency: float


def worker_counts(most: int = 0) -> list[int]:
    """Return 1, 2, 4, … up to usable cores, or ``most``."""
    cores = usable_cores()
    most = min(most, cores) if most else cores
    return sorted({*(2**k for k in range(most.bit_length()) if 2**k <= most), most})


def measure_scaling(
    settings: TimedStream,
    counts: list[int],
    on_done: Callable[[], object] = lambda: None,
) -> list[Scaling]:
    """Measure the real-time factor by number of processes, then threads."""
    rows: list[Scaling] = []
    for workers in WORKERS:
        alone = 0.0
        for count in counts:
            factor = real_time_factor(settings, workers, count)
            alone = alone or factor / count
            rows.append(
                Scaling(
                    workers=workers,
                    count=count,
                    streams=count * _STREAMS_EACH,
                    real_time_factor=factor,
                    efficiency=factor / (count * alone),
                )
            )
            on_done()
    return rows


def real_time_factor(settings: TimedStream, workers: str, count: int) -> float:
    """Return the audio time of all workers' streams over wall time."""
    pool: Executor
    if workers == PROCESSES:
        context = get_context("spawn")
        with children.undisturbed():
            barrier: Any = context.Barrier(count)
        pool = ProcessPoolExecutor(
            count, mp_context=context, initializer=_meet_at, initargs=(barrier,)
        )
    else:
        barrier = threading.Barrier(count)
        pool = ThreadPoolExecutor(count, initializer=_meet_at, initargs=(barrier,))
    before = children.running()
    try:
        with children.undisturbed():
            drives = pool.map(_drive, [settings] * count)
        spans = list(drives)
    except BaseException:
        children.end(children.running() - before)
        raise
    finally:
        pool.shutdown()
    wall_s = max(end for _, end in spans) - min(begin for begin, _ in spans)
    return settings.seconds * _STREAMS_EACH * count / wall_s


def _meet_at(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _drive(settings: TimedStream) -> tuple[float, float]:
    """Return when driving some streams began and when it ended, in s."""
    crowd = Crowd(settings)
    crowd.drive(_STREAMS_EACH, _WARM_UP_TICKS)
    barrier = _barrier
    barrier.wait(_TOGETHER_S)
    begin_s = time.perf_counter()
    crowd.drive(_STREAMS_EACH)
    end_s = time.perf_counter()
    crowd.close()
    return begin_s, end_s
