"""Time calls of ``push``, back to back or paced by packets.

**Back to back** shows the most that the processor can do. **Paced** is the listener's case: the
thread sleeps until a packet's turn, wakes when the system lets it, and finds its caches used by
others. The time that matters is from the turn, not from the waking, to the samples: measured from
the waking, a call delayed by a slow call before it would look fast [1]_.

Beside the engine runs a *null loop*, which only copies the packet: it shows the machine alone.
Paced, both run at the same turn, the null loop first, so that they meet the same delays. **Cold**:
other memory is touched before each of them, as the programs do that have the processor meanwhile.

References
----------
.. [1] G. Tene, "How NOT to Measure Latency", 2013: the coordinated omission problem.
"""

import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc_bench.base.corpus import Samples, find_clips, read_clip
from plc_bench.base.pace import wait_until
from plc_bench.base.synth import music

Packet = Samples | None
Push = Callable[[Packet], object]
Peer = Callable[[int, bool], object]


@dataclass(slots=True, kw_only=True)
class Disturbances:
    """Events of the interpreter and the system; None where unknown."""

    collections: list[int] = field(default_factory=lambda: [0, 0, 0])
    """Runs of the garbage collector, by generation."""
    longest_collection_ms: float = 0.0
    new_blocks: int = 0
    """Growth of the blocks of Python's allocator."""
    kernel_allocations: int | None = None
    """Blocks that compiled kernels asked for (array headers among them)."""
    page_faults: int | None = None
    preempted: int | None = None
    """Times that the system took the processor away."""


@dataclass(frozen=True, slots=True)
class Timed:
    """Durations of calls.

    Attributes
    ----------
    times_ms : dict of float64, shape (n,)
        ``push``, ``null`` and ``peer`` last from call to return; paced, ``answer`` and
        ``null_answer`` last from a packet's turn to the return, less what touching took, and
        ``late`` to the thread's waking.
    wall_s, cpu_s : float
        Wall and processor time of the engine's loop.
    """

    times_ms: dict[str, NDArray[np.float64]]
    wall_s: float
    cpu_s: float
    disturbances: Disturbances


def time_back_to_back(
    push: Push,
    packets: list[Samples],
    trace: NDArray[np.bool_],
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Timed:
    """Time each call, after a null loop of equal length.

    Parameters
    ----------
    push : callable
        Takes a packet, or None for a lost one.
    packets : list of float32, shape (packet_samples, channels)
        Pushed in turn, from the first again after the last.
    trace : bool, shape (n,), which are lost
    clock : callable, returns nanoseconds
    """
    null_ns, _, _ = _loop(_null_push(packets), packets, trace, clock)
    with watched() as disturbances:
        push_ns, wall_s, cpu_s = _loop(push, packets, trace, clock)
    return Timed({"push": push_ns / 1e6, "null": null_ns / 1e6}, wall_s, cpu_s, disturbances)


def time_paced(
    push: Push,
    packets: list[Samples],
    trace: NDArray[np.bool_],
    packet_ms: float,
    clock: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], object] = time.sleep,
    touch_mb: float = 0.0,
    peer: Peer | None = None,
) -> Timed:
    """Time one call every ``packet_ms``; otherwise as :func:`time_back_to_back`.

    A call that comes late because the one before took long is not moved: its answer is later.

    Parameters
    ----------
    touch_mb : float
        Other memory that is touched before each call, in MiB.
    peer : callable or None
        Takes the number of a turn, and whether its packet is lost; timed between the two others.
    """
    lost = trace.tolist()
    woke, ready, copied, called, returned, begun, done = np.zeros((7, trace.size), np.int64)
    null, touch = _null_push(packets), _touching(touch_mb)
    due = (1e6 * packet_ms * np.arange(1, trace.size + 1)).astype(np.int64)
    with watched() as disturbances:
        wall, cpu = time.perf_counter(), time.process_time()
        due += clock()
        turns = due.tolist()
        for i in range(len(lost)):
            packet = None if lost[i] else packets[i % len(packets)]
            wait_until(turns[i], clock, sleep, 1e9)
            woke[i] = clock()
            touch()
            ready[i] = clock()
            null(packet)
            copied[i] = clock()
            if peer:
                touch()
                called[i] = clock()
                peer(i, lost[i])
                returned[i] = clock()
            touch()
            begun[i] = clock()
            push(packet)
            done[i] = clock()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    took = {
        "push": done - begun,
        "null": copied - ready,
        "answer": woke - due + copied - ready + done - begun,
        "null_answer": woke - due + copied - ready,
        "late": woke - due,
    } | ({"peer": returned - called} if peer else {})
    return Timed({name: ns / 1e6 for name, ns in took.items()}, wall, cpu, disturbances)


def _null_push(packets: list[Samples]) -> Push:
    """Return a ``push`` that only copies a packet: for a lost one, another."""
    out, another = np.empty_like(packets[0]), packets[0].copy()

    def push(packet: Packet) -> None:
        np.copyto(out, another if packet is None else packet)

    return push


def _touching(mb: float) -> Callable[[], object]:
    """Return a function that writes a word in each line of the cache of so many MiB."""
    lines = np.zeros(round(mb * 2**20) // 8, np.int64)[::8]

    def touch() -> None:
        np.add(lines, 1, out=lines)

    touch()
    return touch if lines.size else lambda: None


def piece(clips: tuple[Path, ...], sample_rate: int, seconds: float, channels: int = 1) -> Samples:
    """Return a piece to push, shape (n, channels).

    An equal part of each of the ``clips``, files or folders, with their channels repeated; without
    any, made music.
    """
    if not clips:
        return music(sample_rate, seconds, channels)
    files = find_clips(clips)
    part = round(seconds * sample_rate / len(files))
    read = [read_clip(one, sample_rate).signal[:part] for one in files]
    whole = np.concatenate([one[:, np.arange(channels) % one.shape[1]] for one in read])
    return np.resize(whole, (round(seconds * sample_rate), channels))


def cut(signal: Samples, packet_samples: int) -> list[Samples]:
    """Return the whole packets of ``signal``, each with memory of its own."""
    count = len(signal) // packet_samples
    return [signal[i * packet_samples : (i + 1) * packet_samples].copy() for i in range(count)]


@contextmanager
def watched() -> Iterator[Disturbances]:
    """Count disturbances while the block runs; freeze the garbage collector, as a live engine does.

    Only counters that are kept anyway are read, before and after; nothing is traced.
    """
    seen = Disturbances()
    begun_s = 0.0

    def note(phase: str, _: object) -> None:
        nonlocal begun_s
        if phase == "start":
            begun_s = time.perf_counter()
        else:
            took_ms = 1e3 * (time.perf_counter() - begun_s)
            seen.longest_collection_ms = max(seen.longest_collection_ms, took_ms)

    gc.collect()
    was_on = gc.isenabled()
    gc.freeze()
    gc.disable()
    before, collected = _counters(), _collected()
    gc.callbacks.append(note)
    try:
        yield seen
    finally:
        gc.callbacks.remove(note)
        counters = zip(_counters(), before, strict=True)
        blocks, seen.kernel_allocations, seen.page_faults, seen.preempted = (
            None if now is None or then is None else now - then for now, then in counters
        )
        seen.new_blocks = blocks or 0
        seen.collections = [a - b for a, b in zip(_collected(), collected, strict=True)]
        if was_on:
            gc.enable()
        gc.unfreeze()


def _collected() -> list[int]:
    return [int(generation["collections"]) for generation in gc.get_stats()]


def _counters() -> tuple[int | None, ...]:
    """Return allocated blocks, allocations of kernels, page faults, involuntary switches."""
    faults = preempted = None
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        used = resource.getrusage(resource.RUSAGE_SELF)
        faults, preempted = used.ru_minflt + used.ru_majflt, used.ru_nivcsw
    return sys.getallocatedblocks(), _kernel_allocations(), faults, preempted


def _kernel_allocations() -> int | None:
    try:
        from numba.core.runtime.nrt import rtsys

        counters = import_module("numba.core.runtime._nrt_python")
        if not counters.memsys_stats_enabled():
            counters.memsys_enable_stats()
        return int(rtsys.get_allocation_stats().alloc)
    except (ImportError, AttributeError, RuntimeError):
        return None


def _loop(
    push: Push, packets: list[Samples], trace: NDArray[np.bool_], clock: Callable[[], int]
) -> tuple[NDArray[np.int64], float, float]:
    taken_ns = np.zeros(trace.size, np.int64)
    lost = trace.tolist()
    wall, cpu = time.perf_counter(), time.process_time()
    for i in range(len(lost)):
        packet = None if lost[i] else packets[i % len(packets)]
        before = clock()
        push(packet)
        taken_ns[i] = clock() - before
    return taken_ns, time.perf_counter() - wall, time.process_time() - cpu


@dataclass(frozen=True, slots=True)
class Times:
    """Durations of one kind of call, in ms; NaN without a call."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p99_9_ms: float
    max_ms: float


def summarise_times(times_ms: Sequence[float] | NDArray[np.float64]) -> Times:
    """Return the percentiles of durations in ms."""
    if not len(times_ms):
        return Times(0, *[float("nan")] * 5)
    return Times(len(times_ms), *map(float, np.percentile(times_ms, [50, 95, 99, 99.9, 100])))
