"""Networks that go wrong on purpose: ``plc bench latency --fault``.

A stream is opened with its networks as they are, which are warmed up and timed. Once that is done
each run of one does the fault, in the worker's thread, where it should not be heard.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from plc.engine import outside
from plc.errors import ConfigError, unknown
from plc.networks.streams import context_encoder
from plc.runtime.network import open_network
from plc.runtime.worker import Runnable

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


class _Faulty:
    """A network that does something else first, once it is told to."""

    def __init__(self, network: Runnable, act: Callable[[], None], armed: list[bool]) -> None:
        self._network = network
        self._act = act
        self._armed = armed

    @property
    def on_gpu(self) -> bool:
        return self._network.on_gpu

    def run(
        self, spectra: NDArray[np.float32], lost: NDArray[np.float32], out: NDArray[np.float32]
    ) -> bool:
        if self._armed:
            self._act()
        return self._network.run(spectra, lost, out)

    def keep_warm(self) -> None:
        self._network.keep_warm()

    def cancel(self) -> None:
        self._network.cancel()


def check_fault(fault: str) -> None:
    """Refuse a fault that is not one of :data:`FAULTS`.

    Raises
    ------
    ConfigError
        If it is not.
    """
    if fault not in FAULTS:
        raise ConfigError(unknown("fault", fault, FAULTS))


@contextmanager
def faulty_networks(fault: str) -> Iterator[Callable[[], None]]:
    """Open networks that go wrong once the yielded call is made.

    Every network of the process is affected.

    Parameters
    ----------
    fault : str
        One of :data:`FAULTS`.
    """
    armed: list[bool] = []

    def faulty(opener: Callable[..., Runnable]) -> Callable[..., Runnable]:
        if fault == NO_FAULT:
            return opener
        return lambda *arguments, **settings: _Faulty(
            opener(*arguments, **settings), FAULTS[fault], armed
        )

    encoder = context_encoder.StreamEncoder
    with (
        patch.object(outside, "open_network", faulty(open_network)),
        patch.object(context_encoder, "StreamEncoder", faulty(encoder)),
    ):
        yield lambda: armed.append(True)
