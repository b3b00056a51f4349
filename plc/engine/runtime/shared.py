"""Opened networks that all streams of a process share, one session each.

A session holds a network's weights several times over: as they were read, optimised and packed. A
run only reads them, so one session serves any number of threads at once, each with inputs and an
output of its own (:mod:`plc.engine.runtime.session`).

**Which.** By the SHA-256 of the bytes that were read and verified: a file that was replaced is
another network.

**How long.** While a stream uses it, and then while the files of the sessions used last together
are no larger than :data:`KEPT_BYTES`. So the next stream, or the next call that conceals
a signal, opens nothing.

**After a fork** the child begins with none: a thread of the parent's may have been inside one.

Only for a CPU. On a GPU a session reads and writes fixed addresses, which are one stream's.
"""

import contextlib
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from plc.engine.models.onnx_file import GraphSummary
from plc.engine.runtime.providers import Signature

KEPT_BYTES = 16 << 20
"""Of ONNX files whose sessions stay open without a user; those in the package have 11 MB."""

Key = Hashable
"""SHA-256 of the ONNX file, and whatever else two sessions of it differ by."""


@dataclass(slots=True, weakref_slot=True, eq=False)
class OpenSession:
    """A session and its known properties."""

    raw: Any
    """ONNX Runtime's."""
    bytes: int
    """Of the ONNX file."""
    nodes: dict[str, int]
    """As :attr:`SessionReport.nodes`."""
    graph: GraphSummary
    """What the file says about itself."""
    proved: set[Signature] = field(default_factory=set)
    """What it has been run with."""


class Sized(Protocol):
    """Something opened from an ONNX file."""

    @property
    def bytes(self) -> int:
        """Size of the file."""
        ...


Opened = TypeVar("Opened", bound=Sized)


class SharedSessions(Generic[Opened]):
    """The sessions of a process; every method is for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used: weakref.WeakValueDictionary[Key, Opened]
        self._used = weakref.WeakValueDictionary()
        self._recent: OrderedDict[Key, Opened] = OrderedDict()
        self._opening: dict[Key, threading.Lock] = {}

    def get(self, key: Key, open_session: Callable[[], Opened]) -> Opened:
        """Return the session of ``key``, opened at first use; errors pass through.

        Threads that ask for the same one wait for the first of them to open it.
        """
        with self._lock:
            opening = self._opening.setdefault(key, threading.Lock())
        with opening:
            shared = self.find(key)
            try:
                return self._keep(key, open_session() if shared is None else shared)
            finally:
                with self._lock:
                    self._opening.pop(key, None)

    def find(self, key: Key) -> Opened | None:
        """Return the session of ``key`` if it is open."""
        with self._lock:
            return self._used.get(key)

    def _keep(self, key: Key, shared: Opened) -> Opened:
        """Note a session as used last; drop the oldest ones."""
        dropped = []  # so that they are closed outside the lock
        with self._lock:
            self._used[key] = shared
            self._recent[key] = shared
            self._recent.move_to_end(key)
            while sum(each.bytes for each in self._recent.values()) > KEPT_BYTES:
                dropped.append(self._recent.popitem(last=False))
        dropped.clear()
        return shared

    def all(self) -> list[Opened]:
        """Return the open sessions."""
        return [shared for ref in self._used.valuerefs() if (shared := ref()) is not None]


sessions: SharedSessions[OpenSession] = SharedSessions()
_of_parents: list[OpenSession] = []
"""Of a parent: a thread of it may have been inside, so they are never closed here."""


def _begin_child() -> None:
    global sessions
    with contextlib.suppress(Exception):  # what another thread was changing at that moment
        _of_parents.extend(sessions.all())
    sessions = SharedSessions()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)
