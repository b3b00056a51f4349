"""What much software does when a packet is missing, in a loop over the losses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plc.engine.methods import BASELINES
from plc.errors import ConfigError
from plc.programs import rivals
from plc_bench.peers.base import Contender
from plc_bench.scores.metrics import Mask


@dataclass(frozen=True, slots=True)
class Simple:
    """One of :data:`~plc.engine.methods.BASELINES`."""

    coded = False
    method: str

    def play(
        self, signal: NDArray[np.float32], trace: Mask, packet_samples: int, sample_rate: int
    ) -> NDArray[np.float32]:
        """Play the stream."""
        return rivals.play(self.method, signal, trace, packet_samples, sample_rate)


def peer(name: str) -> Contender:
    """Return the contender of a name; it has no options."""
    if name not in BASELINES:
        raise ConfigError(f"peer {name!r}: {', '.join(BASELINES)} have no options")
    return Simple(name)
