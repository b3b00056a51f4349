"""Gaps of speech in files, filled as streams that wait fill them.

The networks of streams were trained on the short and frequent gaps of lost packets and by judges of
whole clips; the two-sided one (:mod:`plc.files.fill.networks`) on single gaps and by the
distance to the truth. So a gap of speech gets what a stream with enough lookahead would play,
without its fades::

    |~~~ known ~~~|-- continued: causal network --|-- bridged: network for bridges --|~~~ known ~~~|
                                                  |<---- at most its horizon ------->|
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plc.engine.predict.sides import dithered
from plc.engine.stream.concealer import Concealer
from plc.engine.stream.methods import stream_models
from plc.errors import ModelError
from plc.files.fill.gap_drafts import network_gain
from plc_kernels.signal.predict import LEAST_KNOWN
from plc_kernels.stream import gap, layout

# What is heard of a stream before a gap, by which its level is bounded.
_BEFORE_S = 0.5


class SpokenGaps:
    """Fills gaps of files by the networks that conceal speech in streams.

    Parameters
    ----------
    sample_rate : int
        A rate in Hz at which the package has networks for bursts and for bridges.

    Attributes
    ----------
    horizon : int
        Samples of the longest gap that is bridged as a whole.

    Raises
    ------
    ModelError
        If a model is not sound, or none that the compiled step runs.
    """

    def __init__(self, sample_rate: int) -> None:
        causal, bridge = (of["speech"] for of in stream_models("auto", sample_rate, "speech"))
        self.horizon = bridge.horizon_samples(sample_rate)
        self._longest = self.horizon + causal.horizon_samples(sample_rate)
        # No bridge ends in less than it looks at behind a gap.
        n = max(sample_rate // 100, LEAST_KNOWN)
        self._stream = Concealer(
            sample_rate,
            packet_samples=n,
            # The longest gap, as much behind it, and the packets that both begin in.
            lookahead=2 + math.ceil((self._longest + self.horizon) / n),
            content="speech",
            budget_ms=math.inf,
        )
        served = self._stream.describe()["networks"]
        if any(each["mode"] != "step" for each in served.values()) or len(served) < 2:
            raise ModelError(
                f"models {causal.name} and {bridge.name}: the compiled step does not run them at "
                f"{sample_rate} Hz"
            )
        self._block = block = self._stream._memory.block
        block[[layout.STEADY_HOLD, layout.UNSTEADY_HOLD]] = self._longest
        self._least = int(
            max(block[net + gap.START] for net in (layout.SPEECH_NET, layout.BRIDGE_NET))
        )
        self._before = math.ceil(max(int(block[layout.PAST]), _BEFORE_S * sample_rate) / n)

    def fill(
        self, row: NDArray[np.float32], start: int, stop: int, end: int
    ) -> NDArray[np.float32] | None:
        """Return a fill of ``row[start:stop]``.

        Parameters
        ----------
        row : float32, shape (n,), one channel
        start, stop, end : int
            The gap, and until where what follows it is known.

        Returns
        -------
        float32, shape (stop - start,), or None
            None if the gap is too long, or too little is known.
        """
        samples = stop - start
        if samples > self._longest or start < self._least or end - stop < LEAST_KNOWN:
            return None
        self._stream.reset()
        n = self._stream.config.packet_samples
        before, lookahead = min(self._before, start // n), self._stream.config.lookahead
        packets = before + -(-samples // n) + lookahead
        hole = before * n, before * n + samples
        known = row[start - hole[0] : end][: packets * n].copy()
        known[slice(*hole)] = 0.0
        gain = network_gain(known, *hole)
        line = np.pad(gain * dithered(known), (0, packets * n - known.size))
        lost = hole, (known.size, line.size)
        played = [self._push(line, k * n, lost) for k in range(packets)]
        fill = np.concatenate(played[before + lookahead :])[:samples] / gain
        return fill if self._block[layout.LANDED] else None

    def _push(
        self, line: NDArray[np.float32], begin: int, lost: Sequence[tuple[int, int]]
    ) -> NDArray[np.float32]:
        """Push the packet from a sample on, without its lost parts."""
        packet = line[begin:][: self._stream.config.packet_samples]
        parts = [(max(a - begin, 0), min(b - begin, packet.size)) for a, b in lost]
        missing = [part for part in parts if part[0] < part[1]]
        arrived = sum(b - a for a, b in missing) < packet.size
        given, parts = (packet, missing) if arrived else (None, [])
        return np.asarray(self._stream.push(given, missing=parts), np.float32)[:, 0]
