"""Compile and load kernels before any audio."""

import contextlib
import hashlib
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plc import notice
from plc.compiled import can_compile_beside, compile_beside, lies_compiled
from plc.engine.predict.ladder import Ladders, Rung
from plc.engine.stream.concealment import StepPrediction
from plc.engine.stream.config import StreamConfig
from plc.engine.stream.memory import StreamMemory
from plc.engine.stream.packet_dropouts import DropoutFinder
from plc.engine.stream.stats import TimeHistogram
from plc.processor_time import usable_cores
from plc_kernels.build import denormals
from plc_kernels.build.compile import refused
from plc_kernels.build.library import FUNCTIONS
from plc_kernels.build.own_folder import own_folder
from plc_kernels.signal import ar, level, packet
from plc_kernels.stream import (
    dropout_search,
    fill_limit,
    layout,
    networks,
    preparation,
    start,
    step,
)

_NETWORKS: tuple[tuple[Any, str], ...] = (
    (networks.choose_networks, "nnw"),
    (networks.cost_of, "nwn"),
    (networks.lay_out_network, "nw"),
    (networks.open_network, "w"),
    (networks.fill_part, "wnn"),
    (preparation.add_second, "wn"),
    (preparation.open_second, "wn"),
    (preparation.look, "wn"),
    (preparation.ask, "w"),
    (preparation.expected_losses, "w"),
    (preparation.expect_losses, "br"),
)
"""What streams with networks call, and those that prepare, with which types: words, a number,
blocks of words, reals."""
AUDIO_PATH: tuple[Any, ...] = (
    ar.burg,
    ar.extrapolate,
    denormals.flush_denormals,
    denormals.restore_denormals,
    dropout_search.forget_search,
    dropout_search.lay_out_search,
    dropout_search.search,
    dropout_search.search_nothing,
    layout.lay_out,
    fill_limit.know,
    layout.reach_of,
    level.largest,
    step.step_many,
    packet.pack_int16,
    packet.unpack_int16,
    start.count_time,
    start.forget_stream,
    start.note_time,
    start.open_stream,
    *(kernel for kernel, _ in _NETWORKS),
)
"""Every kernel that a stream may call whose samples the step makes, and those at its ends."""

_POLL_S = 0.02
_PROGRESS_S = 10.0
WAITING = "waiting for another process of yours that compiles the kernels, for a minute at most"
COMPILING = (
    "compiling the kernels, once on this machine: half a minute to a minute; "
    "plc doctor --warm does it beforehand"
)
_PROGRESS = "compiling the kernels: {} of some {} functions done; the last take longest"
LOADING = "loading the kernels, which takes longer than usual: the machine is busy"


def compiled(kernels: tuple[Any, ...]) -> int:
    """Return the number of these kernels that lie compiled here."""
    return sum(map(lies_compiled, kernels))


def cache_folder() -> Path | None:
    """Return where numba keeps these kernels compiled; None where it does not."""
    caches = (getattr(kernel, "_cache", None) for kernel in AUDIO_PATH)
    paths = (getattr(cache, "cache_path", None) for cache in caches)
    return next((Path(path) for path in paths if path is not None), None)


def run_beside() -> None:
    """Compile the networks, in a process beside the one that compiles all."""
    from numba import types

    words, number = types.Array(types.int64, 1, "C"), types.int64
    blocks, reals = types.Array(types.int64, 2, "C"), types.Array(types.float64, 1, "C")
    of_letters = {"w": words, "n": number, "b": blocks, "r": reals}
    for kernel, letters in _NETWORKS:
        if not kernel.signatures:
            kernel.compile(tuple(of_letters[each] for each in letters))


def _run_step() -> None:
    config = StreamConfig(sample_rate=8000, packet_samples=64)
    rung = Rung(4.0, 16.0)
    memory = StreamMemory(config, StepPrediction(Ladders(8000, 1, 64, rungs=(rung, rung))))
    block, inbox, missing = memory.block, memory.inbox, memory.missing
    step.step_many(block[None], step.PUSH, inbox, 0, False, missing, 0, inbox, 0, 1)
    layout.reach_of(8000, 64)
    fill_limit.know(block, inbox, False, 0, 0)
    start.note_time(block)
    start.forget_stream(block)
    denormals.restore_denormals(denormals.flush_denormals())
    rows, words = np.zeros((1, 64), np.float32), np.zeros((64, 1), np.int16)
    packet.pack_int16(rows, words)
    packet.unpack_int16(words, 0, 64, rows)
    level.largest(rows[0])
    samples, work = np.zeros(256, np.float32), ar.ArWorkspace.allocate(256, 8)
    ar.burg(8, samples, work.forward, work.backward, work.mirror, np.zeros(9))
    ar.extrapolate(np.zeros(8), np.zeros(16))


def _run_dropouts() -> None:
    finder = DropoutFinder(StreamConfig(sample_rate=8000, packet_samples=64))
    finder.look_at(np.zeros((64, 1), np.float32))
    finder.look_at(np.zeros((64, 1), np.int16))
    finder.skip()
    finder.forget()
    TimeHistogram().add(0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmth:
    """Parts of a warm-up, by default of streams."""

    kernels: tuple[Any, ...] = AUDIO_PATH
    compile: tuple[Callable[[], object], ...] = (_run_step, _run_dropouts)
    """Each compiles some of them, or loads them."""
    beside: Callable[[], object] | None = run_beside
    """Compiles the others, as a process beside does."""
    functions: int = 240
    """That numba compiles, about."""
    compiled: Callable[[tuple[Any, ...]], int] = compiled
    start: Callable[[str], "subprocess.Popen[bytes] | None"] = compile_beside
    folder: Callable[[], Path | None] = cache_folder
    cores: Callable[[], int] = usable_cores
    clock: Callable[[], float] = time.monotonic
    rest: Callable[[float], object] = time.sleep
    slow_s: float = 2.5
    """From a warm cache it takes less, where the processor has time."""
    wait_s: float = 180.0
    """Compiling everything takes less, even on a slow core."""

    def is_worth_a_process(self) -> bool:
        """Return whether a process beside saves time: for an empty cache, with two cores."""
        is_cold = self.compiled(self.kernels) == 0 and self.folder() is not None
        return bool(self.beside) and is_cold and self.cores() > 1 and can_compile_beside()


class Progress:
    """Functions that numba has compiled, of about as many as there are."""

    def __init__(self, how: Warmth) -> None:
        self._how = how
        self._functions = 0
        self._told = False
        self._waiting = False
        """For another process."""

    def count(self) -> None:
        """Count a function."""
        self._functions += 1

    def why(self) -> str:
        """Return in words why the start is slow."""
        how = self._how
        if self._waiting:
            return WAITING
        if how.compiled(how.kernels) == len(how.kernels):
            return LOADING
        if not self._told:
            self._told = True
            return COMPILING
        return _PROGRESS.format(self._functions, max(self._functions, how.functions))

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Let processes that start together compile in turn: the second finds the first's cache.

        Where locks are not to be had (no fcntl, no folder of this user's own), or one is held for a
        minute, they compile side by side, which costs time; numba itself replaces cache files
        atomically. Another user cannot hold it, nor a process that keeps its kernels elsewhere.
        """
        how = self._how
        place = how.folder()
        folder, _ = own_folder("locks") if place else (None, "")
        if folder is None:
            yield
            return
        with contextlib.ExitStack() as held:
            with contextlib.suppress(ImportError, OSError):
                import fcntl

                key = hashlib.sha256(os.fsencode(str(place))).hexdigest()[:16]
                path = folder / f"warm-up-{key}.lock"
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(path, flags, 0o600)
                held.callback(os.close, descriptor)
                deadline_s = how.clock() + how.wait_s
                self._waiting = True
                while how.clock() < deadline_s:
                    with contextlib.suppress(BlockingIOError):
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    how.rest(_POLL_S)
            self._waiting = False
            yield


_compiling = threading.RLock()

if hasattr(os, "register_at_fork"):
    # numba has locks of its own, which a child would find held for ever: a fork waits for them.
    _free = _compiling.release
    os.register_at_fork(before=_compiling.acquire, after_in_parent=_free, after_in_child=_free)


class WarmUp:
    """A warm-up for any threads: one of them compiles, the others wait."""

    def __init__(self, how: Warmth) -> None:
        self.lock = _compiling
        self.kernels = how.kernels
        self._how = how
        self._done = False

    def __call__(self) -> None:
        """Compile or load the kernels, unless that is done, and forbid compiling."""
        if self._done:  # without the lock, which a call that was interrupted may have kept
            return
        with self.lock:
            if self._done:
                return
            if FUNCTIONS is None:
                self._compile()
            else:
                self._run(beside=False)
            self._done = True

    def _compile(self) -> None:
        from numba.core import event

        class Listener(event.Listener):
            """Listener of numba's reports on functions that it compiles."""

            def on_start(self, event: event.Event) -> None:
                pass

            def on_end(self, event: event.Event) -> None:
                progress.count()

        for reason in refused:
            notice.tell(reason)
        how, beside = self._how, self._how.is_worth_a_process()
        is_cold = how.compiled(how.kernels) < len(how.kernels)
        level = logging.WARNING if is_cold else logging.INFO
        progress = Progress(how)
        slow = notice.if_slow(progress.why, how.slow_s, _PROGRESS_S, level)
        with event.install_listener("numba:compile", Listener()), slow, progress.turn():
            self._run(beside)
        for kernel in how.kernels:
            kernel.disable_compile()

    def _run(self, beside: bool) -> None:
        """Compile or load every kernel; with an empty cache two processes compile.

        The step is this one's, and the networks, which take as long, the other's. This one then
        takes them from the cache; where the other cannot be started, or fails, it compiles all.
        """
        how = self._how
        process = (
            how.start("from plc.engine.stream import warm; warm.run_beside()") if beside else None
        )
        try:
            for compile_some in how.compile:
                compile_some()
            if process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(how.wait_s)
            if FUNCTIONS is None and how.beside is not None:
                how.beside()
        finally:
            if process is not None:
                process.kill()
                process.communicate()  # closes the pipe, too


def of(kernels: tuple[Any, ...], run: Callable[[], object], functions: int) -> WarmUp:
    """Return the warm-up of kernels that ``run`` calls, of which numba makes so many functions."""
    return WarmUp(Warmth(kernels=kernels, compile=(run,), beside=None, functions=functions))


warm_up = WarmUp(Warmth())
"""The warm-up of streams. From an empty cache it takes half a minute, else half a second."""
