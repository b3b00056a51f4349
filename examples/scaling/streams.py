"""What workers and their keeper share: a stream's place, its snapshots, and who serves it.

A tick is a packet of each stream. All processes count ticks alike, as by a clock of RTP timestamps.
A worker publishes each of its streams every 2 s: the store then has what another one needs to go on
with it. Packets between a snapshot and the tick in which the stream goes on, at most the last 0.2 s
of them, count as lost.
"""

import contextlib
import hashlib
import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import plc
from plc.errors import CapacityError, SnapshotError

PUBLISHED_EVERY_S = 2.0
"""Snapshots of 0.25 and of 2 s ago are worth the same (docs/scaling.md)."""
# More than a snapshot of 8 channels at 192 kHz with all networks.
MOST_BYTES = 2**28
# By then a concealment has faded into noise: to have lost more changes nothing.
MOST_LOST_S = 0.2


def ranking(ssrc: int, workers: Iterable[str]) -> list[str]:
    """Return workers by how soon a stream is to be theirs, the first to serve it.

    Rendezvous hashing (Thaler and Ravishankar, 1998): each asks no other, and when a worker joins
    or leaves only the streams move that it gets or had.
    """

    def score(worker: str) -> bytes:
        return hashlib.blake2b(f"{ssrc:08x} {worker}".encode(), digest_size=8).digest()

    return sorted(workers, key=score, reverse=True)


class Store:
    """The newest snapshot of each stream: a file each, in a folder that all workers see.

    Parameters
    ----------
    folder : Path
        On one machine in memory (``/dev/shm``), else on a shared file system. One that is made is
        for its owner alone, and so are the files: they hold what was said.
    key : bytes
        At least 16, secret, and the same for all. Each snapshot is signed with a key of its own,
        for the stream and the tick: one of another stream is refused as a changed one is.
    """

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder, self._key = folder, key
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, ssrc: int) -> Path:
        """Return a stream's file: 8 bytes with the tick that comes next, and the snapshot."""
        return self._folder / f"{ssrc:08x}.stream"

    def key_of(self, ssrc: int, tick: int) -> bytes:
        """Return the key that a stream's snapshot is signed with."""
        return hmac.digest(self._key, f"{ssrc:08x} {tick}".encode(), "sha256")

    def put(self, ssrc: int, tick: int, snapshot: bytes) -> None:
        """Replace a stream's snapshot; who reads meanwhile gets the one or the other, whole.

        Raises
        ------
        OSError
            If the folder is full, gone, or not to be written; an older snapshot is still there.
        """
        path = self.path(ssrc)
        new = path.with_suffix(f".{os.getpid()}")
        try:
            with open(new, "wb", opener=_opened) as file:
                file.write(tick.to_bytes(8, "little") + snapshot)
            new.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()
            raise

    def get(self, ssrc: int) -> tuple[int, bytes] | None:
        """Return the tick that comes next, and the snapshot; None: there is none.

        What cannot be read, and no file of its own (a link, a pipe), is an empty snapshot: no pool
        takes it.
        """
        try:
            with open(self.path(ssrc), "rb", opener=_opened) as file:
                whole = file.read(MOST_BYTES)
        except FileNotFoundError:
            return None
        except OSError:
            return 0, b""
        return int.from_bytes(whole[:8], "little"), whole[8:]

    def drop(self, ssrc: int) -> None:
        """Forget a stream, if that is possible."""
        with contextlib.suppress(OSError):
            self.path(ssrc).unlink()


def _opened(path: str, flags: int) -> int:
    """Open a file for its owner alone; follow no link, and wait for nobody."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)


@dataclass(frozen=True, slots=True)
class Tick:
    """What a worker is told: streams that join it, a packet of each of its streams, and who leaves.

    Attributes
    ----------
    number : int
        Of the tick.
    joining : list of int
        SSRCs of streams that are its own from now on.
    ssrcs : list of int
        Those of all its streams.
    packets : float32, shape (streams, packet_samples, channels)
    arrived : bool, shape (streams,)
    leaving : list of int
        Streams that another worker goes on with from the next tick on.
    ended : list of int
        Streams that have ended, of its own or that nobody serves.
    """

    number: int
    joining: list[int]
    ssrcs: list[int]
    packets: NDArray[np.float32]
    arrived: NDArray[np.bool_]
    leaving: list[int]
    ended: list[int]


@dataclass(frozen=True, slots=True)
class Played:
    """What a worker answers.

    Attributes
    ----------
    packets : float32, shape (streams, packet_samples, channels)
        To be played; zeros of streams that are not served.
    unserved : list of int
        Streams beyond its limit.
    refused : int
        Snapshots that it refused so far; such streams began anew.
    unpublished : int
        Snapshots that it could not write so far; such streams have an older one, or none.
    """

    packets: NDArray[np.float32]
    unserved: list[int]
    refused: int
    unpublished: int


class Worker:
    """Streams of one process.

    Parameters
    ----------
    folder, key
        As :class:`Store` takes them.
    settings : dict
        Of :meth:`plc.ConcealerPool.open`; snapshots of streams with others are refused.
    every_s : float
        In which each stream is published once.
    limit : int
        Of its streams; others have them then.
    """

    def __init__(
        self,
        folder: Path,
        key: bytes,
        settings: dict[str, Any],
        every_s: float = PUBLISHED_EVERY_S,
        limit: int = 65_536,
    ) -> None:
        of_settings = repr(sorted(settings.items())).encode()
        self._store = Store(folder, hmac.digest(key, of_settings, "sha256"))
        self._settings = settings
        self._pool = plc.ConcealerPool(limit=limit)
        self._pool.capacity(**settings)  # compiles and measures now, not in the first tick
        self._shape = settings["packet_samples"], settings.get("channels", 1)
        tick_s: float = settings["packet_samples"] / settings["sample_rate"]
        self._every = max(round(every_s / tick_s), 1)
        self._most_lost = round(MOST_LOST_S / tick_s)
        self._ids: dict[int, int] = {}
        self._turn: list[int] = []
        self._due = 0.0
        self._tick = 0
        self._refused = 0
        self._unpublished = 0

    def play(self, tick: Tick) -> Played:
        """Return a tick's packets."""
        lost = {ssrc: self._join(ssrc, tick.number) for ssrc in tick.joining}
        unserved = [ssrc for ssrc in tick.joining if ssrc not in self._ids]
        self._lose(lost)
        rows = [k for k, ssrc in enumerate(tick.ssrcs) if ssrc in self._ids]
        played = np.zeros_like(tick.packets)
        if rows:
            ids = [self._ids[tick.ssrcs[k]] for k in rows]
            played[rows] = self._pool.push(ids, tick.packets[rows], tick.arrived[rows])
        self._tick = tick.number + 1
        for ssrc in tick.leaving:
            self._publish(ssrc)
            self._leave(ssrc)
        for ssrc in tick.ended:
            if ssrc in self._ids:
                self._leave(ssrc)
            self._store.drop(ssrc)
        return Played(played, unserved, self._refused, self._unpublished)

    def publish(self) -> None:
        """Publish the streams whose turn it is, a few in each tick: call it behind each."""
        self._due += len(self._ids) / self._every
        while self._due >= 1.0:
            self._due -= 1.0
            self._turn = self._turn or list(self._ids)
            ssrc = self._turn.pop()
            if ssrc in self._ids:
                self._publish(ssrc)

    def _publish(self, ssrc: int) -> None:
        key = self._store.key_of(ssrc, self._tick)
        (snapshot,) = self._pool.snapshot([self._ids[ssrc]], key)
        try:
            self._store.put(ssrc, self._tick, snapshot)
        except OSError:  # streams are played all the same
            self._unpublished += 1

    def _leave(self, ssrc: int) -> None:
        self._pool.close([self._ids.pop(ssrc)])

    def _join(self, ssrc: int, number: int) -> int:
        """Go on with a stream from its snapshot, or begin anew, within the limit.

        Returns the packets that it lost between.
        """
        found = self._store.get(ssrc)
        with contextlib.suppress(CapacityError):
            if found is not None and self._restored(ssrc, *found):
                return min(number - found[0], self._most_lost)
            self._ids[ssrc] = int(self._pool.open(1, **self._settings, seed=ssrc)[0])
        return 0

    def _restored(self, ssrc: int, tick: int, snapshot: bytes) -> bool:
        try:
            (one,) = self._pool.restore([snapshot], self._store.key_of(ssrc, tick))
        except SnapshotError:
            self._refused += 1
            return False
        self._ids[ssrc] = int(one)
        return True

    def _lose(self, packets: dict[int, int]) -> None:
        """Let streams have lost so many packets that nobody plays: by the cheapest prediction."""
        for k in range(max(packets.values(), default=0)):
            ids = [self._ids[ssrc] for ssrc, count in packets.items() if count > k]
            nothing = np.zeros((len(ids), *self._shape), np.float32)
            self._pool.push(ids, nothing, np.zeros(len(ids), bool), budget_ms=0.0)
