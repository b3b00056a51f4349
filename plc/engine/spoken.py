"""Gaps of speech in files, filled as streams that wait fill them.

The networks of streams were trained on the short and frequent gaps of lost packets and by judges of
whole clips; the two-sided one (:mod:`plc.networks.files.inpaint`) on single gaps and by the
distance to the truth. So a gap of speech gets what a stream with enough lookahead would play,
without its fades::

    |~~~ known ~~~|-- continued: causal network --|-- bridged: network for bridges --|~~~ known ~~~|
                                                  |<---- at most its horizon ------->|
"""

import math

import numpy as np
from numpy.typing import NDArray

from plc.engine.config import StreamConfig
from plc.engine.memory import StreamMemory
from plc.engine.network_choice import step_networks
from plc.engine.prediction import StepPrediction
from plc.errors import ModelError
from plc.models.manifest import Manifest
from plc.predict.ladder import Ladders
from plc_kernels.predict import LEAST_KNOWN
from plc_kernels.stream import gap, layout, network
from plc_kernels.stream.many import step_many
from plc_kernels.stream.start import forget_stream
from plc_kernels.stream.step import GO_ON, MORE, PUSH

# What is heard of a stream before a gap, by which its level is bounded.
_BEFORE_S = 0.5
# So much of a gap is continued at most, before the rest is bridged.
_CONTINUED_MS = 60.0


class SpokenGaps:
    """The networks of streams of speech at work on gaps of files.

    Parameters
    ----------
    causal, bridge : Manifest
        Models of those kinds.
    sample_rate : int
        In Hz.

    Attributes
    ----------
    horizon : int
        Samples of the longest gap that is bridged as a whole.

    Raises
    ------
    ModelError
        If a model is not sound, or none that the compiled step runs.
    """

    def __init__(self, causal: Manifest, bridge: Manifest, sample_rate: int) -> None:
        self.horizon = bridge.horizon_samples(sample_rate)
        continued = round(sample_rate * _CONTINUED_MS / 1000.0)
        self._longest = self.horizon + min(causal.horizon_samples(sample_rate), continued)
        # No bridge ends in less than it looks at behind a gap.
        n = max(sample_rate // 100, LEAST_KNOWN)
        config = StreamConfig(
            sample_rate=sample_rate,
            packet_samples=n,
            # The longest gap, as much behind it, and the packets that both begin in.
            lookahead=2 + math.ceil((self._longest + self.horizon) / n),
            model=causal.name,
            content="speech",
            budget_ms=math.inf,
        )
        manifests = {"speech": causal, "speech, bridged": bridge}
        networks = step_networks(config, manifests, math.inf, optional=False)
        if networks is None or len(networks.chosen) < len(manifests):
            raise ModelError(
                f"models {causal.name} and {bridge.name}: the compiled step does not run them at "
                f"{sample_rate} Hz"
            )
        reach = int(layout.reach_of(sample_rate, n, config.lookahead))
        ladders = Ladders(sample_rate, 1, n, reach=reach)
        self._memory = memory = StreamMemory(config, StepPrediction(ladders, networks))
        block = memory.block
        block[layout.REACH] = min(reach, self.horizon)
        block[[layout.STEADY_HOLD, layout.UNSTEADY_HOLD]] = self._longest
        self._least = int(
            max(block[net + gap.START] for net in (layout.SPEECH_NET, layout.BRIDGE_NET))
        )
        self._before = math.ceil(max(int(block[layout.PAST]), _BEFORE_S * sample_rate) / n)
        self._box = memory.box(np.float32)[:, 0]

    def fill(
        self, row: NDArray[np.float32], start: int, stop: int, end: int
    ) -> NDArray[np.float32] | None:
        """Return a fill of ``row[start:stop]``.

        Parameters
        ----------
        row : float32, shape (n,)
            One channel.
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
        block, n = self._memory.block, self._box.size
        forget_stream(block)
        before = min(self._before, start // n)
        lookahead = int(block[layout.LOOKAHEAD])
        played = np.empty(-(-samples // n) * n, np.float32)
        for k in range(-before, played.size // n + lookahead):
            self._push(row, start + k * n, stop, start, end)
            if k - lookahead >= 0:
                played[(k - lookahead) * n :][:n] = self._box
        return played[:samples] if block[layout.LANDED] else None

    def _push(self, row: NDArray[np.float32], begin: int, stop: int, start: int, end: int) -> None:
        """Push the packet from a sample on, of which the gap and what follows ``end`` are lost."""
        memory, box = self._memory, self._box
        box[:] = 0.0
        there = row[begin : min(begin + box.size, end)]
        box[: there.size] = there
        lost = [(start, stop), (end, end + box.size)]
        parts = [(max(a - begin, 0), min(b - begin, box.size)) for a, b in lost]
        missing = [part for part in parts if part[0] < part[1]]
        arrived = sum(b - a for a, b in missing) < box.size
        count = len(missing) if arrived else 0
        for k in range(count):
            memory.missing[2 * k : 2 * k + 2] = missing[k]
        block, inbox = memory.block, memory.inbox
        block[layout.TAKES] = arrived
        given = inbox, 0, False, memory.missing
        flags = step_many(block[None], PUSH, *given, count, inbox, 0, 1)
        while flags & MORE:
            network.fill_part(block, memory.model, flags)
            flags = step_many(block[None], GO_ON, *given, 0, inbox, 0, 1)
