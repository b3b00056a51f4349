"""Several processes that share the streams of a relay: one core runs a few dozen.

Each worker relays some of the streams, in an order of its own, and answers with their reports. What
is noticed in it is passed on. One that dies is started anew, at the same ports: its streams go on,
and what it had recorded is kept under the name that it should have.
"""

import contextlib
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from plc import children, notice
from plc.ending import by_signals, stop_signals
from plc.errors import NetworkError, PlcError, why
from plc.transport.relay.relayed import RelayConfig
from plc.transport.rtp.udp import Endpoint

Run = Callable[..., list[dict[str, Any]]]
"""Relays streams, for a time, and returns their reports."""

# A worker that has died is started anew after so long, and four times as long the next time, unless
# it has lived for a while; too many such deaths in a row are an error.
_WAIT_S, _LIVED_S, _DEATHS = 0.1, 60.0, 5


class _DeathError(NetworkError):
    """A worker's process has ended before its work."""


class _Stopped(list[dict[str, Any]]):
    """Reports of a worker that a signal has ended before its streams and its time were over."""


class _RelayProcess:
    """A process that relays some of the streams, and those that come in its place."""

    def __init__(self, configs: list[RelayConfig], taken: frozenset[object]) -> None:
        self._wanted = configs
        self._configs = list(configs)  # with the ports that they have, into files that are free
        self._taken = taken
        self._process: BaseProcess | None = None
        self.pipe: Any = None
        """None while there is no process to hear from."""
        self.answer: list[dict[str, Any]] | PlcError | None = None
        self.restarts = 0
        self._deaths = 0  # in a row
        self._began_s = 0.0
        self._due_s = -math.inf
        self._left: set[Path] = set()  # by other processes, beside its recordings

    def start_if_due(self, end_s: float, run: Run) -> None:
        now_s = time.monotonic()
        if self.pipe is not None or self.answer is not None or now_s < self._due_s:
            return
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe(duplex=False)
        self._left = {path for _, paths in self._leftovers() for path in paths}
        given = self._configs, max(0.0, end_s - now_s), theirs, run
        self._process = context.Process(target=_work, args=given, daemon=True)
        self._began_s = now_s
        try:
            with children.undisturbed():
                self._process.start()
        except OSError as error:  # no memory, perhaps, for want of which the last one was killed
            self._note_end(_DeathError(f"a worker cannot be started: {why(error)}"), ending=False)
        theirs.close()

    def ask_to_end(self) -> None:
        """Let the process play the packets that it holds; at the second call, end it at once."""
        if self.pipe is not None and self._process is not None:
            self._process.terminate()
        elif self.answer is None:
            self.answer = NetworkError("a worker was to be started anew when the relay ended")

    def join(self) -> None:
        if self._process is not None and self._process.pid is not None:
            self._process.join()

    def hear(self, ending: bool) -> None:
        """Take a message of the process: its ports, a line to report, its reports, or its end."""
        assert self._process is not None
        try:
            said = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            status = self._process.exitcode
            said = _DeathError(f"a worker ended without a report (status {status})")
        if isinstance(said, _Stopped) and not ending:
            said = _DeathError("a worker was ended by a signal")
        if isinstance(said, str):
            notice.tell(said)
        elif isinstance(said, tuple):
            pairs = zip(self._configs, said, strict=True)
            self._configs = [replace(config, listen=at) for config, at in pairs]
        else:
            self._note_end(said, ending)

    def _note_end(self, said: list[dict[str, Any]] | PlcError, ending: bool) -> None:
        """Take the reports or the error of a process that ends, or prepare its successor."""
        self.pipe = None
        lived = time.monotonic() - self._began_s > _LIVED_S
        self._deaths = 1 if lived else self._deaths + 1
        # An error of the first is one of settings, or of a port that is taken.
        errors = PlcError if self.restarts else _DeathError
        if ending or not isinstance(said, errors):
            self.answer = said
        elif self._deaths == _DEATHS:
            self.answer = NetworkError(f"{said}, {_DEATHS} times in a row: {self._names}")
        else:
            self._prepare_successor(said)

    @property
    def _names(self) -> str:
        return ", ".join(config.name or str(config.listen) for config in self._configs)

    def _prepare_successor(self, error: PlcError) -> None:
        """Keep the recordings of a dead process, and choose the files of its successor."""
        self.join()
        self.restarts += 1
        self._due_s = time.monotonic() + _WAIT_S * 4.0 ** (self._deaths - 1)
        notice.tell(f"{error}; another takes over its streams: {self._names}")
        for number, paths in self._leftovers():
            wanted, before = self._wanted[number].to, self._configs[number].to
            assert not isinstance(wanted, Endpoint)
            following = wanted.rescue(sorted(set(paths) - self._left), self._taken)
            if following != before:
                self._configs[number] = replace(self._configs[number], to=following)
                notice.tell(f"{before} is kept; the recording goes on in {following}")

    def _leftovers(self) -> Iterator[tuple[int, list[Path]]]:
        """Yield each recorded stream's number, and its unfinished files of killed processes."""
        for number, config in enumerate(self._configs):
            if not isinstance(config.to, Endpoint):
                with contextlib.suppress(PlcError):  # a link, which the process refuses
                    yield number, config.to.unfinished()


def run_workers(
    configs: Sequence[RelayConfig], workers: int, duration_s: float, run: Run
) -> list[dict[str, Any]]:
    """Let each of several processes relay some of the streams; collect their reports in order.

    If one of them fails, or dies again and again, the others come to their end, as streams of one
    process would.

    Return of each stream the report of ``run``, by the last of its processes, and ``restarts``.
    """
    end_s = time.monotonic() + duration_s
    files = [config.to for config in configs if not isinstance(config.to, Endpoint)]
    taken: frozenset[object] = frozenset().union(*(file.places for file in files))
    crew = [_RelayProcess(list(configs[number::workers]), taken) for number in range(workers)]
    failure: PlcError | None = None
    with stop_signals() as signals:
        asked = 0
        while any(worker.answer is None for worker in crew):
            # A failure is as a first signal, unless there was one.
            for _ in range(asked, max(len(signals), failure is not None)):
                for worker in crew:
                    worker.ask_to_end()
                asked += 1
            for worker in crew:
                worker.start_if_due(end_s, run)
            heard = {worker.pipe: worker for worker in crew if worker.pipe is not None}
            for pipe in multiprocessing.connection.wait(list(heard), _WAIT_S):
                heard[pipe].hear(bool(asked or signals))
            # The first: others follow from it, where workers had not begun.
            answers = [failure, *(worker.answer for worker in crew)]
            failure = next((each for each in answers if isinstance(each, PlcError)), None)
    for worker in crew:
        worker.join()
    if failure is not None and signals:
        # Asked to end before the workers had begun, or twice: nobody waits for what they counted.
        raise KeyboardInterrupt if signals[0] == signal.SIGINT else SystemExit(128 + signals[0])
    if failure is not None:
        raise failure
    reports: list[dict[str, Any]] = [{} for _ in configs]
    for number, worker in enumerate(crew):
        assert isinstance(worker.answer, list)
        reports[number::workers] = [one | {"restarts": worker.restarts} for one in worker.answer]
    return reports


def _work(
    configs: list[RelayConfig],
    duration_s: float,
    answer: "multiprocessing.connection.Connection",
    run: Run,
) -> None:
    # A terminal's signals are for the parent, which hands them on: here a second one would end at
    # once.
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    # Where the parent is killed, it ends no worker, and ports would stay.
    children.end_with_parent(partial(os.kill, os.getpid(), signal.SIGTERM))
    one_at_a_time = threading.Lock()

    def send(what: object) -> None:
        with one_at_a_time, contextlib.suppress(OSError):  # nobody is there any more
            answer.send(what)

    lanes: list[Any] = []

    def announce(relay: Any) -> None:
        lanes.extend(relay.lanes)
        send(tuple(lane.ports[0].endpoint for lane in relay.lanes))

    notice.listener = send
    end_s = time.monotonic() + duration_s
    with by_signals():
        done: list[dict[str, Any]] | PlcError
        try:
            done = run(configs, duration_s=duration_s, announce=announce)
            if time.monotonic() < end_s and not all(lane.ended or lane.error for lane in lanes):
                done = _Stopped(done)
        except PlcError as error:
            done = error
        send(done)
