"""Dropouts in packets that arrived: ``detect_dropouts=True``.

What was before the stream, such as a bridge or a driver that ran empty, may have put silence or an
old block in the place of sound. Such packets arrive; here they are recognised, and become lost
(:mod:`plc_kernels.dropouts`).
"""

from collections.abc import Sequence

import numpy as np

from plc.engine.config import StreamConfig
from plc.engine.samples import INT16, Packet
from plc_kernels.dropouts import LAG_MS, MORE_MS, STATE_WORDS, find_dropouts, skip_packet
from plc_kernels.packet import INT16_SCALE

_SCALE = np.float32(1.0 / INT16_SCALE)


class DropoutFinder:
    """Dropouts of one stream, packet by packet.

    Parameters
    ----------
    config : StreamConfig
        Of the stream.
    """

    def __init__(self, config: StreamConfig) -> None:
        n = config.packet_samples
        past_ms = max(LAG_MS, config.packet_ms) + MORE_MS
        past = round(past_ms * config.sample_rate / 1000.0)
        self._rate, self._packet = config.sample_rate, n
        self._lines = np.zeros((config.channels, past + n), np.float32)
        self._new = self._lines[:, past:].T
        self._states = np.zeros((config.channels, STATE_WORDS), np.int64)
        self._marked = np.zeros((config.channels, n), np.int8)
        self._parts = np.zeros(n + 1, np.int64)

    def look_at(self, packet: Packet) -> Sequence[tuple[int, int]]:
        """Return the parts of a packet that are dropouts, in order.

        The begin of one that is not in all channels says of which it is
        (:data:`~plc_kernels.packet.CHANNELS_AT`).

        Parameters
        ----------
        packet : float32 or int16, shape (packet_samples, channels)
            As it arrived.
        """
        if packet.dtype == INT16:
            np.multiply(packet, _SCALE, out=self._new)
        else:
            np.copyto(self._new, packet)
        count = find_dropouts(
            self._rate, self._packet, self._lines, self._states, self._marked, self._parts
        )
        if not count:
            return ()
        ends = self._parts[: 2 * count].tolist()
        return tuple(zip(ends[::2], ends[1::2], strict=True))

    def skip(self) -> None:
        """Take note of a packet that did not arrive as a whole."""
        skip_packet(self._rate, self._packet, self._states)

    def forget(self) -> None:
        """Make it as new."""
        self._states.fill(0)
