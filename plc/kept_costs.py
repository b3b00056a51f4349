"""Costs that were measured on this machine, kept for the processes of a day.

A cost is the least of a few runs, so one that was measured while the machine was busy is too high:
one that is too dear for a stream counts for ten minutes (:attr:`KeptCost.recent`), and is measured
again after that. Machines that share a home, other kernels, and days each have costs of their own.
Where the user has no folder, every process measures.
"""

import contextlib
import hashlib
import json
import math
import os
import platform
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from plc.processor_time import cpu_name
from plc_kernels.build.library import SOURCES
from plc_kernels.build.own_folder import own_folder

_KEPT_S = 86_400.0
_DEAR_S = 600.0
# A file that is larger was not written here.
_MOST_BYTES = 1 << 20


class KeptCost(NamedTuple):
    """A cost of an earlier process."""

    values: tuple[float, ...]
    recent: bool
    """Whether one that is too dear is so still."""


def find_cost(of: object, values: int) -> KeptCost | None:
    """Return a cost of an earlier process; None where none is kept.

    Parameters
    ----------
    of : object
        What costs that: its ``repr`` is the same in every process.
    values : int, numbers of such a cost
    """
    found = _read().get(repr(of))
    if not isinstance(found, list) or len(found) != 1 + values:
        return None
    if not all(isinstance(each, int | float) and 0.0 <= each < math.inf for each in found):
        return None
    age_s = time.time() - found[0]
    if not 0.0 <= age_s < _KEPT_S:
        return None
    return KeptCost(tuple(float(each) for each in found[1:]), age_s < _DEAR_S)


def keep_cost(of: object, *values: float) -> None:
    """Keep a cost for later processes, if it can be."""
    path = _file()
    if path is None:
        return
    costs = {**_read(), repr(of): [time.time(), *values]}
    with contextlib.suppress(OSError):
        beside = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        beside.write_text(json.dumps(costs))
        beside.replace(path)


def _read() -> dict[str, Any]:
    path = _file()
    if path is None:
        return {}
    with contextlib.suppress(OSError, ValueError, RecursionError):  # none yet, or damaged
        if path.stat().st_size <= _MOST_BYTES:
            costs = json.loads(path.read_text())
            return costs if isinstance(costs, dict) else {}
    return {}


def _file() -> Path | None:
    folder, _ = own_folder("costs")
    return folder and folder / f"{_machine()}.json"


@cache
def _machine() -> str:
    told = platform.node(), cpu_name(), os.cpu_count(), SOURCES
    return hashlib.sha256(repr(told).encode()).hexdigest()[:32]
