"""Streams played in their own time: a packet is pushed when its turn comes, never earlier.

What a listener of a live stream hears on this machine: the engine has its default budget, and what
runs beside the audio thread has the time between two packets.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import plc
from plc_bench.base.pace import turns
from plc_bench.scores.metrics import Mask


@dataclass(frozen=True, slots=True, kw_only=True)
class PacedEngine:
    """A method of ``plc.Concealer``, pushed in real time.

    Attributes
    ----------
    method, model, content, lookahead, seed, prepare
        As :class:`plc.Concealer` takes them.
    clock, sleep : callable
        Return and take seconds.
    """

    coded = False
    method: str
    model: str = "auto"
    content: str = "auto"
    lookahead: int = 0
    seed: int = 0
    prepare: str = "auto"
    clock: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], object] = time.sleep

    def play(
        self, signal: NDArray[np.float32], trace: Mask, packet_samples: int, sample_rate: int
    ) -> NDArray[np.float32]:
        """Return the samples that a listener hears."""
        concealer = plc.Concealer(
            sample_rate=sample_rate,
            channels=signal.shape[1],
            packet_samples=packet_samples,
            lookahead=self.lookahead,
            method=self.method,
            model=self.model,
            content=self.content,
            seed=self.seed,
            prepare=self.prepare,
        )
        try:
            return self._play(concealer, signal, trace)
        finally:
            concealer.close()

    def _play(
        self, concealer: plc.Concealer, signal: NDArray[np.float32], trace: Mask
    ) -> NDArray[np.float32]:
        samples = concealer.config.packet_samples
        played = np.zeros((len(signal) + concealer.delay, signal.shape[1]), np.float32)
        packet_s = samples / concealer.config.sample_rate
        moments = turns(packet_s, self.clock, self.sleep, first=1)
        for (k, lost), _ in zip(enumerate(trace.tolist()), moments, strict=False):
            at = slice(k * samples, (k + 1) * samples)
            played[at] = concealer.push(None if lost else signal[at])
        played[len(signal) :] = concealer.flush()
        return played[concealer.delay :]
