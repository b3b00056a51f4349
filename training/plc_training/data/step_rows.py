"""Rows of networks that are still to be trained, as the step of a stream makes them.

A stream is opened with a network of which only the sizes are known, to be run outside the step
(:mod:`plc_kernels.stream.networks`). Packets are played to it as received; at a burst it is asked
what rows it would hand out, and goes on from before the burst, as if there was none::

    play ─▶ block ─┬─▶ play …
                   └─ copy ─▶ lost, … ─▶ SUBMIT or WAIT: the rows
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from plc.engine.models.manifest import Manifest
from plc.engine.networks.flat import BRIDGE_DRAFTS, MUSIC_DRAFTS, SPEECH_DRAFTS, shared_models
from plc.engine.predict.ladder import Ladders, Rung
from plc.engine.runtime.worker import StreamContext
from plc.engine.stream.concealment import StepNetworks, StepPrediction
from plc.engine.stream.config import StreamConfig
from plc.engine.stream.memory import StreamMemory
from plc.engine.stream.outside import OutsideNetworks
from plc.engine.stream.warm import warm_up
from plc.errors import ConfigError
from plc_kernels.stream import layout
from plc_kernels.stream.gap import LINES, NETS
from plc_kernels.stream.networks import DONE, fill_part
from plc_kernels.stream.step import GO_ON, MORE, PLAYED, PUSH, step_many

_SERVES = {SPEECH_DRAFTS: "speech", MUSIC_DRAFTS: "music", BRIDGE_DRAFTS: "speech, bridged"}
_MOST_HOP_MS = 5.0
_LEAST_HOPS = 3
"""Before the gap, in it, and behind it: frames that touch an edge are four hops long."""


class StepRows:
    """A stream whose step makes the rows of a network for speech or for music.

    Parameters
    ----------
    stream : (int, int, int, int)
        Sample rate in Hz, channels, samples of a packet, and packets of lookahead.
    drafts : tuple of str
        Names of the rows, as in manifests.
    lengths : (int, int, int)
        Samples of a row before the gap, of the longest gap (of a burst: all that is drafted), and
        behind that; the last is 0 for bursts.
    rung : (float, float)
        Order and past of linear prediction, in ms.

    Raises
    ------
    ConfigError
        If a stream makes no such rows.
    """

    def __init__(
        self,
        stream: tuple[int, int, int, int],
        drafts: tuple[str, ...],
        lengths: tuple[int, int, int],
        rung: tuple[float, float],
    ) -> None:
        warm_up()
        rate, channels, self._packet, lookahead = stream
        of = _SERVES[drafts]
        models = shared_models(_of_sizes(rate, drafts, lengths), outside_at=rate)
        config = StreamConfig(
            sample_rate=rate,
            channels=channels,
            packet_samples=self._packet,
            lookahead=lookahead,
            budget_ms=math.inf,
            content="music" if of == "music" else "speech",
        )
        reach = min(lookahead * self._packet, int(layout.reach_of(rate, self._packet)))
        own = Rung(*rung)
        ladders = Ladders(rate, channels, self._packet, reach=reach, rungs=(own, own))
        chosen = {of: ("rows", 0.0)}
        outside = OutsideNetworks(StreamContext(rate, channels, self._packet), {})
        networks = StepNetworks(models, chosen, {}, of != "music", outside=outside)
        self._memory = StreamMemory(config, StepPrediction(ladders, networks))
        block = self._memory.block
        if not block[layout.NETWORK]:
            raise ConfigError(
                f"rows of {', '.join(drafts)} of {sum(lengths)} samples are none that a stream of "
                f"{rate} Hz makes in packets of {self._packet} samples: data has others"
            )
        self._box = self._memory.box(np.float32)
        lines = self._memory.array(NETS[of] + LINES)
        self._lines = lines.reshape(channels, len(drafts), -1)
        self._served = MORE | (PLAYED if block[layout.LISTENS] else 0)

    def play(self, samples: NDArray[np.float32]) -> None:
        """Take in whole packets as received, shape (channels, n)."""
        for begin in range(0, samples.shape[1], self._packet):
            self._push(samples[:, begin : begin + self._packet])

    def rows_of(self, packets: Iterable[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
        """Return the rows that are handed out first if these packets come; None: there are none.

        The stream goes on as if they did not come.

        Parameters
        ----------
        packets : iterable of float32, shape (channels, packet samples), or None
            None: lost.

        Returns
        -------
        float32, shape (channels, drafts, samples), or None
        """
        before = self._memory.block.copy()
        found = next((rows for each in packets if (rows := self._push(each)) is not None), None)
        self._memory.block[:] = before
        return found

    def _push(self, packet: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        """Take in a packet, None if it is lost; return the rows that are handed out, if any."""
        memory, block = self._memory, self._memory.block
        if packet is not None:
            self._box[:] = packet.T
        block[layout.TAKES] = packet is not None
        action, rows = PUSH, None
        while True:
            step = action, memory.inbox, 0, False, memory.missing, 0, memory.inbox, 0, 1
            flags = step_many(block[None], *step)
            while flags & self._served and fill_part(block, memory.model, flags) != DONE:
                rows = self._lines.copy() if rows is None else rows
                block[layout.GIVEN] = False
            if not flags & MORE:
                return rows
            action = GO_ON


def _of_sizes(sample_rate: int, drafts: tuple[str, ...], lengths: tuple[int, int, int]) -> Manifest:
    """Return the manifest of a network with such rows, on a grid that divides them."""
    before, gap, behind = lengths
    bursts = drafts != BRIDGE_DRAFTS
    shared = math.gcd(*lengths)
    most = min(sample_rate * _MOST_HOP_MS / 1000.0, min(filter(None, lengths)) / _LEAST_HOPS)
    hop = max(n for n in range(1, int(most) + 1) if shared % n == 0)
    bin_hz = sample_rate / (4.0 * hop)
    horizon = gap - _LEAST_HOPS * hop if bursts else gap
    return Manifest(
        name="rows",
        kind="causal" if bursts else "bridge",
        content="music" if drafts == MUSIC_DRAFTS else "speech",
        sha256="0" * 64,
        bytes=1,
        bin_hz=bin_hz,
        top_hz=None,
        drafts=drafts,
        context_frames=before // hop - _LEAST_HOPS,
        context_frames_after=0 if bursts else behind // hop - _LEAST_HOPS,
        horizon_ms=1000.0 * horizon / sample_rate,
        sample_rates=(sample_rate, sample_rate),
        parameters=0,
        opset=1,
        licence="none",
        training={},
        figures={},
        created_by="training",
    )
