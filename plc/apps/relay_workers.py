"""Several processes that share the streams of a relay: one core runs a few dozen.

Each worker relays some of the streams, in an order of its own, and answers with their reports. What
is noticed in it is passed on. One that dies is started anew, at the same ports: its streams go on,
and what it had recorded is kept under the name that it should have.
"""

import contextlib
import itertools
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from plc import notice
from plc.apps import children
from plc.apps.recorder import Places, places_of
from plc.apps.relay_stream import RelayConfig
from plc.audio.files import rescue
from plc.audio.whole import behind, leftovers
from plc.ending import by_signals
from plc.errors import NetworkError, PlcError
from plc.rtp.udp import stop_signals

Run = Callable[..., list[dict[str, Any]]]
"""Relays streams, for a time, and returns their reports."""

# A worker that has died is started anew after so long, and four times as long the next time, unless
# it has lived for a while; too many such deaths in a row are an error.
_WAIT_S, _LIVED_S, _DEATHS = 0.1, 60.0, 5


@dataclass(slots=True)
class _Worker:
    """A process, and those in whose place it came."""

    wanted: list[RelayConfig]
    """Its streams, as they were asked for."""
    configs: list[RelayConfig]
    """As they are: at the ports that they have, and into files that are free."""
    process: BaseProcess | None = None
    pipe: Any = None
    answer: list[dict[str, Any]] | PlcError | None = None
    began_s: float = -math.inf
    due_s: float = -math.inf
    """When it is to be started."""
    restarts: int = 0
    deaths: int = 0
    """In a row."""
    old: set[Path] = field(default_factory=set)
    """What other processes have left beside its recordings."""
    taken: Places = frozenset()
    """Where the relay's streams go."""


def run_workers(
    configs: Sequence[RelayConfig], workers: int, duration_s: float, run: Run
) -> list[dict[str, Any]]:
    """Let each of several processes relay some of the streams; collect their reports in order.

    If one of them fails, or dies again and again, the others come to their end, as streams of one
    process would.

    Parameters
    ----------
    configs : sequence of RelayConfig
        The streams.
    workers : int
        Processes.
    duration_s : float
        How long.
    run : callable
        Relays the streams of one process.

    Returns
    -------
    list of dict
        Of each stream what ``run`` returns, by the last of its processes, and ``restarts``.
    """
    end_s = time.monotonic() + duration_s
    to = [places_of(config.to) for config in configs if isinstance(config.to, Path)]
    taken: Places = frozenset().union(*to)
    shares = [list(configs[number::workers]) for number in range(workers)]
    crew = [_Worker(mine, list(mine), taken=taken) for mine in shares]
    failure: PlcError | None = None
    with stop_signals() as signals:
        sent = 0
        while any(worker.answer is None for worker in crew):
            ending = bool(signals) or failure is not None
            for worker in crew:
                if worker.process is None and worker.answer is None:
                    _start_if_due(worker, end_s, run, ending)
                for _ in signals[sent:]:
                    _ask_to_end(worker)
            sent = len(signals)
            waited_for = {each.pipe: each for each in crew if each.process and each.answer is None}
            for pipe in multiprocessing.connection.wait(list(waited_for), _WAIT_S):
                _hear(waited_for[pipe], ending)
            if failure is None:
                failure = next((w.answer for w in crew if isinstance(w.answer, PlcError)), None)
                for worker in crew if failure is not None else ():
                    _ask_to_end(worker)
    for worker in crew:
        if worker.process is not None:
            worker.process.join()
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


def _start_if_due(worker: _Worker, end_s: float, run: Run, ending: bool) -> None:
    """Start a worker's process, unless it has to wait or all come to their end."""
    now_s = time.monotonic()
    if ending:
        worker.answer = NetworkError("a worker was not started, as the relay ends")
    elif now_s >= worker.due_s:
        context = multiprocessing.get_context("spawn")
        worker.pipe, theirs = context.Pipe(duplex=False)
        worker.old = {path for _, place in _recordings(worker) for path in leftovers(place)}
        given = worker.configs, max(0.0, end_s - now_s), theirs, run
        worker.process = context.Process(target=_work, args=given, daemon=True)
        with children.undisturbed():
            worker.process.start()
        theirs.close()
        worker.began_s = time.monotonic()


def _ask_to_end(worker: _Worker) -> None:
    if worker.process is not None and worker.answer is None:
        worker.process.terminate()


def _hear(worker: _Worker, ending: bool) -> None:
    """Take what a worker says: its reports, why there are none, its ports, or a line to tell."""
    assert worker.process is not None
    try:
        said = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        said = _DeathError(
            f"a worker ended without a report (status {worker.process.exitcode}), "
            f"{notice.counted(worker.deaths + 1, 'time')} in a row"
        )
    if isinstance(said, str):
        notice.tell(said)
    elif isinstance(said, tuple):
        worker.configs = [
            replace(config, listen=at) for config, at in zip(worker.configs, said, strict=True)
        ]
    elif isinstance(said, PlcError) and not ending and _may_go_on(worker, said):
        _prepare_successor(worker, said)
    else:
        worker.answer = said


class _DeathError(NetworkError):
    """A worker's process has ended before its work."""


def _may_go_on(worker: _Worker, error: PlcError) -> bool:
    """Count a death; tell whether another worker shall take over."""
    if not isinstance(error, _DeathError) and not worker.restarts:
        return False  # a wrong setting, or a port that is taken
    lived = time.monotonic() - worker.began_s > _LIVED_S
    worker.deaths = 1 if lived else worker.deaths + 1
    return worker.deaths < _DEATHS


def _prepare_successor(worker: _Worker, error: PlcError) -> None:
    """Keep what a dead worker has recorded, and choose where its successor records."""
    assert worker.process is not None
    worker.process.join()
    worker.process = None
    worker.restarts += 1
    worker.due_s = time.monotonic() + _WAIT_S * 4.0 ** (worker.deaths - 1)
    names = ", ".join(config.name or str(config.listen) for config in worker.configs)
    notice.tell(f"{error}; another takes over its streams: {names}")
    for number, place in _recordings(worker):
        for partial in sorted(set(leftovers(place)) - worker.old):
            wanted = worker.wanted[number].to
            assert isinstance(wanted, Path)
            path = _free(wanted, worker.taken)
            try:
                kept_s = rescue(partial, path)
            except PlcError as failure:
                notice.tell(str(failure))
                kept_s = 0.0
            following = _free(wanted, worker.taken)
            worker.configs[number] = replace(worker.configs[number], to=following)
            if kept_s:
                notice.tell(
                    f"{path} holds its {kept_s:.1f} s; the recording goes on in {following}"
                )


def _recordings(worker: _Worker) -> Iterator[tuple[int, Path]]:
    """Yield the numbers of a worker's recorded streams, and where their files will be."""
    for number, config in enumerate(worker.configs):
        if isinstance(config.to, Path):
            with contextlib.suppress(PlcError):
                yield number, behind(config.to)


def _free(wanted: Path, taken: Places) -> Path:
    """Return a name that no file has, and no other stream will: NAME, NAME-2, NAME-3 and so on."""
    if not os.path.lexists(wanted):
        return wanted
    numbered = (wanted.with_stem(f"{wanted.stem}-{number}") for number in itertools.count(2))
    return next(
        name for name in numbered if not os.path.lexists(name) and not places_of(name) & taken
    )


def _work(
    configs: list[RelayConfig],
    duration_s: float,
    answer: "multiprocessing.connection.Connection",
    run: Run,
) -> None:
    """Relay as a worker process; send reports or the error back."""
    # A terminal's signals are for the parent, which hands them on: here a second one would end at
    # once.
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    threading.Thread(target=_end_with_parent, name="plc relay parent", daemon=True).start()
    one_at_a_time = threading.Lock()

    def send(what: object) -> None:
        with one_at_a_time, contextlib.suppress(OSError):  # nobody is there any more
            answer.send(what)

    def announce(relay: Any) -> None:
        send(tuple(lane.ports[0].endpoint for lane in relay.lanes))

    notice.listener = send
    with by_signals():
        done: list[dict[str, Any]] | PlcError
        try:
            done = run(configs, duration_s=duration_s, announce=announce)
        except PlcError as error:
            done = error
        send(done)


def _end_with_parent() -> None:
    """End when the process that started this one has: killed, it ends no worker, and ports stay."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
