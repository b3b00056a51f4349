"""A stream in real time beside other work of the machine: settings of ``plc bench busy``."""

import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import plc
from plc.audio.loss import GilbertElliott
from plc.engine.config import samples_of_packet
from plc.errors import ConfigError
from plc_bench.base.surroundings import check_cpu
from plc_bench.timing.measure import cut, piece


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideSettings:
    """A stream of a repeated piece, and the work beside it.

    Attributes
    ----------
    sample_rate, packet_ms, method, budget_ms
        As ``plc.Concealer`` takes them, for one channel; a packet has ``packet_ms``.
    loss, mean_burst, seed
        Of Gilbert and Elliott's model.
    piece_s, load_s : float
        Length of the piece; time beside the load.
    load : int
        Busy processes.
    cpu : int or None
        The CPU that the stream and the busy processes are bound to.
    clips : tuple of Path
        Audio to push, an equal part of each clip; none: a made piece of music.
    """

    sample_rate: int = 48_000
    packet_ms: float = 10.0
    method: str = "auto"
    budget_ms: float | None = None
    loss: float = 0.1
    mean_burst: float = 1.5
    seed: int = 0
    piece_s: float = 20.0
    load_s: float = 60.0
    load: int = 2
    cpu: int | None = None
    clips: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        """Check the settings that the engine does not see."""
        times = [getattr(self, one.name) for one in fields(self) if one.name.endswith("_s")]
        if not all(1.0 <= seconds < math.inf for seconds in times):
            raise ConfigError("pieces and phases last 1 s at least, and end")
        check_cpu(self.cpu)

    @property
    def packet_samples(self) -> int:
        """Samples of a packet."""
        return samples_of_packet(self.packet_ms, self.sample_rate)

    def piece(self) -> NDArray[np.float32]:
        """Return the piece, shape (n, 1)."""
        return piece(self.clips, self.sample_rate, self.piece_s)

    def packets(self) -> tuple[list[NDArray[np.float32]], NDArray[np.bool_]]:
        """Return the packets of the piece, and which of them are lost."""
        packets = cut(self.piece(), self.packet_samples)
        model = GilbertElliott(self.loss, self.mean_burst)
        return packets, model.trace(len(packets), self.seed)

    def open(self) -> plc.Concealer:
        """Return the stream."""
        return plc.Concealer(
            sample_rate=self.sample_rate,
            packet_samples=self.packet_samples,
            method=self.method,
            budget_ms=self.budget_ms,
        )
