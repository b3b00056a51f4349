"""Several processes that share the streams of a relay: one core runs a few dozen.

Each worker relays some of the streams, in an order of its own, and answers with their reports. What
is noticed in it is passed on.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

from plc import notice
from plc.apps import children
from plc.apps.relay_stream import RelayConfig
from plc.errors import NetworkError, PlcError
from plc.rtp.udp import stop_signals

Run = Callable[..., list[dict[str, Any]]]
"""Relays streams, for a time, and returns their reports."""


def run_workers(
    configs: Sequence[RelayConfig], workers: int, duration_s: float, run: Run
) -> list[dict[str, Any]]:
    """Let each of several processes relay some of the streams; collect their reports in order.

    If one of them fails, the others come to their end, as streams of one process would.

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
    """
    context = multiprocessing.get_context("spawn")
    started = []
    for number in range(workers):
        ours, theirs = context.Pipe(duplex=False)
        mine = list(configs[number::workers])
        process = context.Process(target=_work, args=(mine, duration_s, theirs, run), daemon=True)
        with children.undisturbed():
            process.start()
        theirs.close()
        started.append((process, ours))
    answers: dict[int, list[dict[str, Any]] | PlcError] = {}
    failure: PlcError | None = None
    with stop_signals() as signals:
        sent = 0
        while len(answers) < workers:
            for process, _ in started:
                for _ in signals[sent:]:
                    process.terminate()
            sent = len(signals)
            waited_for = [ours for number, (_, ours) in enumerate(started) if number not in answers]
            ready = multiprocessing.connection.wait(waited_for, 0.1)
            for number, (process, ours) in enumerate(started):
                if ours not in ready:
                    continue
                answer = _answer_of(process, ours)
                if isinstance(answer, str):
                    notice.tell(answer)
                    continue
                answers[number] = answer
                if failure is None and isinstance(answer, PlcError):
                    failure = answer
                    for other, _ in started:
                        other.terminate()
    for process, _ in started:
        process.join()
    if failure is not None and signals:
        # Asked to end before the workers had begun, or twice: nobody waits for what they counted.
        raise KeyboardInterrupt if signals[0] == signal.SIGINT else SystemExit(128 + signals[0])
    if failure is not None:
        raise failure
    reports: list[dict[str, Any]] = [{} for _ in configs]
    for number, answer in answers.items():
        assert not isinstance(answer, PlcError)
        reports[number::workers] = answer
    return reports


def _answer_of(
    process: BaseProcess, ours: "multiprocessing.connection.Connection"
) -> list[dict[str, Any]] | PlcError | str:
    """Return a worker's reports, or why there are none; or a line to tell, before them."""
    try:
        answer: list[dict[str, Any]] | PlcError | str = ours.recv()
    except (EOFError, OSError):
        process.join()
        return NetworkError(f"a worker ended without a report (status {process.exitcode})")
    return answer


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

    def send(what: list[dict[str, Any]] | PlcError | str) -> None:
        with one_at_a_time, contextlib.suppress(OSError):  # nobody is there any more
            answer.send(what)

    notice.listener = send
    done: list[dict[str, Any]] | PlcError
    try:
        done = run(configs, duration_s=duration_s)
    except PlcError as error:
        done = error
    send(done)


def _end_with_parent() -> None:
    """End when the process that started this one has: killed, it ends no worker, and ports stay."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
