"""Spread streams over worker processes; when one dies, its streams go on in the others.

Streams of the package's speech are played in real time, a worker is killed (SIGKILL), and a line
of JSON says what was not played. A program of yours has its own source of packets in place of
:func:`drive`: a jitter buffer for each stream, such as ``plc.transport.rtp.jitter.JitterBuffer``.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import secrets
import socket
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.resources import files
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray
from streams import PUBLISHED_EVERY_S, Played, Tick, Worker, ranking

from plc.engine.loss import GilbertElliott

# A stream takes some milliseconds to go on with: so few at once that ticks are not late for it.
MOVES_A_TICK = 2
PATIENCE_S = 0.25
"""A worker that takes longer hangs, or its machine does not answer: it is killed."""


class GoneError(Exception):
    """A worker has ended, or does not answer."""


class Handle(Protocol):
    """A worker, seen from its keeper."""

    def ask(self, tick: Tick) -> None:
        """Send a tick; never waits for long, and does not fail."""

    def answer(self) -> Played:
        """Return what the worker plays; raise :class:`GoneError`."""

    def kill(self) -> None:
        """See to it that the worker does nothing any more; may be called again."""


class Process:
    """A worker in a process of its own; begins and waits until it is ready.

    Parameters
    ----------
    folder, key, settings, every_s
        As :class:`~streams.Worker` takes them.
    patience_s : float
        After which it is :class:`GoneError`.
    """

    def __init__(
        self,
        folder: Path,
        key: bytes,
        settings: dict[str, Any],
        every_s: float = PUBLISHED_EVERY_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._patience_s = patience_s
        self._ours, theirs = context.Pipe()
        arguments = theirs, folder, key, settings, every_s
        self.process = context.Process(target=serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        self._ours.recv()
        be_patient(self._ours, patience_s)

    def ask(self, tick: Tick) -> None:
        """Send a tick."""
        try:
            self._ours.send(tick)
        except OSError:  # it has ended, or reads no more: there is no answer to wait for
            self.process.kill()

    def answer(self) -> Played:
        """Return what the worker plays; raise :class:`GoneError`."""
        with contextlib.suppress(OSError, EOFError):
            if self._ours.poll(self._patience_s):
                played: Played = self._ours.recv()
                return played
        raise GoneError

    def kill(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.join()


def be_patient(pipe: Connection, patience_s: float) -> None:
    """Have a message fail (OSError) of which no part is sent, or comes, for so long."""
    seconds, microseconds = divmod(round(1e6 * patience_s), 1_000_000)
    with socket.socket(fileno=os.dup(pipe.fileno())) as same:
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            same.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", seconds, microseconds))


def serve(connection: Connection, *arguments: Any) -> None:
    """Answer ticks until the keeper has ended: the process of a worker."""
    worker = Worker(*arguments)
    connection.send("ready")
    with contextlib.suppress(OSError, EOFError):
        while True:
            connection.send(worker.play(connection.recv()))
            worker.publish()


class Keeper:
    """Knows which worker serves a stream, and moves streams when workers die, join or leave.

    Attributes
    ----------
    workers : dict
        Handles by their names.
    refused, unpublished : Counter
        Snapshots refused, and not written, by the worker.
    """

    def __init__(self) -> None:
        self.workers: dict[str, Handle] = {}
        self.refused: Counter[str] = Counter()
        self.unpublished: Counter[str] = Counter()
        self._draining: set[str] = set()
        self._full: set[str] = set()
        self._of: dict[int, str] = {}
        self._known: set[int] = set()  # until a worker has heard that they ended
        self._moved: set[int] = set()
        self._rankings: dict[int, list[str]] = {}

    def add(self, name: str, worker: Handle) -> None:
        """Let a worker join; it gets its share of the streams, some in each tick."""
        self.workers[name] = worker
        self._rankings.clear()

    def drain(self, name: str) -> None:
        """Let a worker's streams go on elsewhere, without a loss; without streams it is ended."""
        if name in self.workers:  # or it has ended, and another one may have its name later
            self._draining.add(name)
            self._rankings.clear()

    def streams_of(self, name: str) -> list[int]:
        """Return the SSRCs of a worker's streams."""
        return [ssrc for ssrc, worker in self._of.items() if worker == name]

    def play(
        self,
        number: int,
        ssrcs: Sequence[int],
        packets: NDArray[np.float32],
        arrived: NDArray[np.bool_],
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return a tick's packets of all streams, and which streams were served.

        Streams that are new join; those that are no longer given have ended.

        Parameters
        ----------
        number : int
            Of the tick.
        ssrcs : sequence of int
        packets : float32, shape (streams, packet_samples, channels)
        arrived : bool, shape (streams,)

        Raises
        ------
        ValueError
            If a stream is given twice, or without a packet.
        """
        if not len(set(ssrcs)) == len(ssrcs) == len(packets) == len(arrived):
            raise ValueError("give each SSRC once, and a packet and a truth value for each")
        asked = self._ask(number, ssrcs, packets, arrived)
        played = np.zeros_like(packets)
        served = np.zeros(len(ssrcs), bool)
        row_of = {ssrc: row for row, ssrc in enumerate(ssrcs)}
        for name, tick in asked.items():
            try:
                answer = self.workers[name].answer()
            except GoneError:
                self._bury(name)
                continue
            rows = [row_of[ssrc] for ssrc in tick.ssrcs]
            played[rows] = answer.packets
            served[rows] = [ssrc not in answer.unserved for ssrc in tick.ssrcs]
            self._note(name, tick, answer)
        return played, served

    def _ask(
        self,
        number: int,
        ssrcs: Sequence[int],
        packets: NDArray[np.float32],
        arrived: NDArray[np.bool_],
    ) -> dict[str, Tick]:
        joining, leaving = self._moves(ssrcs)
        self._known.update(ssrcs)
        gone = sorted(self._known.difference(ssrcs))
        first = next(iter(self.workers), "")
        asked = {}
        for name, worker in self.workers.items():
            ended = [ssrc for ssrc in gone if self._of.get(ssrc, first) == name]
            rows = [k for k, ssrc in enumerate(ssrcs) if self._of.get(ssrc) == name]
            given = [ssrcs[k] for k in rows], packets[rows], arrived[rows]
            asked[name] = Tick(number, joining[name], *given, leaving[name], ended)
            worker.ask(asked[name])
        return asked

    def _moves(self, ssrcs: Sequence[int]) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        """Return which streams join workers in this tick, and which leave them behind it."""
        joining: dict[str, list[int]] = {name: [] for name in self.workers}
        leaving: dict[str, list[int]] = {name: [] for name in self.workers}
        moves: Counter[str] = Counter()
        # Those that left in the last tick are to lose none.
        for ssrc in sorted(ssrcs, key=lambda ssrc: ssrc not in self._moved):
            now, next_one = self._of.get(ssrc), self._wanted(ssrc)
            if next_one is None or next_one == now or moves[next_one] == MOVES_A_TICK:
                continue
            moves[next_one] += 1
            if now is None:
                joining[next_one].append(ssrc)
                self._of[ssrc] = next_one
            else:
                leaving[now].append(ssrc)
        return joining, leaving

    def _wanted(self, ssrc: int) -> str | None:
        """Return the worker that is to serve a stream: the first of its ranking that can."""
        if ssrc not in self._rankings:
            self._rankings[ssrc] = ranking(ssrc, self.workers.keys() - self._draining)
        now = self._of.get(ssrc)
        for name in self._rankings[ssrc]:
            if name == now or name not in self._full:
                return name
        return now

    def _note(self, name: str, tick: Tick, answer: Played) -> None:
        self.refused[name] = answer.refused
        self.unpublished[name] = answer.unpublished
        if tick.leaving or self._of.keys() & tick.ended:
            self._full.discard(name)
        for ssrc in (*tick.leaving, *tick.ended, *answer.unserved):
            self._of.pop(ssrc, None)
        for ssrc in tick.ended:
            self._rankings.pop(ssrc, None)
        self._known.difference_update(tick.ended)
        self._moved.difference_update(tick.joining, tick.ended)
        self._moved.update(tick.leaving)
        if answer.unserved:
            self._full.add(name)
        if name in self._draining and not self.streams_of(name):
            self._bury(name)

    def _bury(self, name: str) -> None:
        """Forget a worker; what hangs must not go on, and publish, when another one has gone on."""
        self.workers.pop(name).kill()
        for ssrc in self.streams_of(name):
            del self._of[ssrc]
        self._draining.discard(name)
        self._full.discard(name)
        self._rankings.clear()


SETTINGS = {"sample_rate": 16_000, "packet_samples": 320}
LOSS = 0.05


def drive(keeper: Keeper, streams: int, seconds: float, kill_at_s: float) -> dict[str, Any]:
    """Play streams in real time, kill a worker, and return what was counted.

    Parameters
    ----------
    keeper : Keeper
        With workers for :data:`SETTINGS`.
    streams : int
        Number of streams.
    seconds, kill_at_s : float
        How long, and when the worker with the most streams is killed.
    """
    n, tick_s = SETTINGS["packet_samples"], SETTINGS["packet_samples"] / SETTINGS["sample_rate"]
    speech, _ = soundfile.read(str(files("plc.data") / "speech.flac"), dtype="float32")
    ticks = round(seconds / tick_s)
    rows = [np.resize(np.roll(speech, -7919 * k), ticks * n) for k in range(streams)]
    packets = np.stack(rows).reshape(streams, ticks, n, 1)
    lost = np.stack([GilbertElliott(LOSS, 1.5).trace(ticks, k) for k in range(streams)])
    ssrcs = [secrets.randbits(32) for _ in range(streams)]
    unplayed = np.zeros(streams, int)
    took_ms, killed, moved = [], "", 0
    began_s = time.monotonic()
    for number in range(ticks):
        time.sleep(max(began_s + number * tick_s - time.monotonic(), 0.0))
        at_s = time.monotonic()
        if number == round(kill_at_s / tick_s):
            killed = max(keeper.workers, key=lambda name: len(keeper.streams_of(name)))
            moved = len(keeper.streams_of(killed))
            unplayed[:] = 0  # at the start streams join some at a time
            keeper.workers[killed].kill()
        _, served = keeper.play(number, ssrcs, packets[:, number], ~lost[:, number])
        unplayed[~served] += n
        took_ms.append(1e3 * (time.monotonic() - at_s))
    return {
        "killed": killed,
        "moved": moved,
        "unplayed_ms": {
            "all": round(1e3 * float(unplayed.sum()) / SETTINGS["sample_rate"]),
            "most": round(1e3 * float(unplayed.max()) / SETTINGS["sample_rate"]),
        },
        "tick_ms": {str(q): round(float(np.percentile(took_ms, q)), 1) for q in (50, 99, 100)},
        "refused": keeper.refused.total(),
        "unpublished": keeper.unpublished.total(),
    }


def parsed(description: str, *more: str) -> argparse.Namespace:
    """Return the arguments of a program, with texts for options that only it has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--streams", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--kill-at", type=float, default=3.0, metavar="S")
    parser.add_argument("--folder", type=Path, help="of snapshots; else one in memory")
    for option in more:
        parser.add_argument(option)
    return parser.parse_args()


def run(given: argparse.Namespace, start: Callable[[Path, bytes, dict[str, Any]], Handle]) -> None:
    """Run :func:`drive` with workers that ``start`` makes, and print what it counts."""
    keeper = Keeper()
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=given.folder or memory) as folder:
        key = secrets.token_bytes(32)  # of yours: from a file that only the workers may read
        for k in range(given.workers):
            keeper.add(f"worker-{k}", start(Path(folder), key, SETTINGS))
        print(json.dumps(drive(keeper, given.streams, given.seconds, given.kill_at)))
        for worker in keeper.workers.values():
            worker.kill()


if __name__ == "__main__":
    run(parsed(__doc__.partition("\n")[0]), Process)
