"""Networks that go wrong on purpose: ``plc bench latency --fault``.

A stream is opened with its networks as they are, which are warmed up and timed. Once that is done
each run of one at the seam (:mod:`plc.engine.outside`) begins with the fault, in the thread that
runs it, where it should not be heard.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

import plc
from plc.errors import ConfigError, unknown

SLEEP_S = 0.1
"""Duration of a run of a network that sleeps."""


def _sleep() -> None:
    time.sleep(SLEEP_S)


def _throw() -> None:
    raise RuntimeError("the network failed on purpose")


def _die() -> None:
    raise SystemExit("the network's thread was ended on purpose")


NO_FAULT = "none"
FAULTS: dict[str, Callable[[], None]] = {
    NO_FAULT: lambda: None,
    "sleep": _sleep,
    "throw": _throw,
    "die": _die,
}
"""Action of a network by name: none, take 100 ms, raise, end its thread."""


def check_fault(fault: str) -> None:
    """Refuse a fault that is not one of :data:`FAULTS`.

    Raises
    ------
    ConfigError
        If it is not.
    """
    if fault not in FAULTS:
        raise ConfigError(unknown("fault", fault, FAULTS))


def go_wrong(stream: plc.Concealer, fault: str) -> None:
    """Have the networks of a stream go wrong from now on, those for its preparations too."""
    outside = stream._method.outside
    if outside is None or fault == NO_FAULT:
        return
    for each in getattr(outside, "_networks", {"": outside}).values():
        for network in (each.worker._life.network, getattr(each, "ahead", None)):
            if network is not None:
                network.run = partial(_run, FAULTS[fault], network.run)


def _run(act: Callable[[], None], run: Callable[..., bool], *arrays: NDArray[np.float32]) -> bool:
    act()
    return run(*arrays)
