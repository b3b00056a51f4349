"""Dropouts in packets that arrived: ``detect_dropouts=True``.

What was before the stream, such as a bridge or a driver that ran empty, may have put silence or an
old block in the place of sound. Such packets arrive; here they are recognised, and become lost
(:mod:`plc_kernels.dropouts`).
"""

from collections.abc import Sequence

import numpy as np

from plc.engine.config import StreamConfig
from plc.engine.samples import INT16, Packet
from plc_kernels.stream.dropouts import (
    HEAD,
    PARTS,
    forget_search,
    lay_out_search,
    search,
    search_nothing,
)


class DropoutFinder:
    """Dropouts of one stream, packet by packet.

    Parameters
    ----------
    config : StreamConfig
        Of the stream.
    """

    def __init__(self, config: StreamConfig) -> None:
        n = config.packet_samples
        head = np.zeros(HEAD, np.int64)
        size = lay_out_search(np.array([config.sample_rate, config.channels, n]), head)
        self._memory = np.zeros(size // 8, np.int64)
        self._memory[:HEAD] = head
        parts = int(head[PARTS]) // 8
        self._parts = self._memory[parts : parts + n + 1]

    def look_at(self, packet: Packet) -> Sequence[tuple[int, int]]:
        """Return the parts of a packet that are dropouts, in order.

        The begin of one that is not in all channels says of which it is
        (:data:`~plc_kernels.packet.CHANNELS_AT`).

        Parameters
        ----------
        packet : float32 or int16, shape (packet_samples, channels), C-contiguous
            As it arrived.
        """
        count = search(self._memory, packet.ctypes.data, packet.dtype == INT16)
        if not count:
            return ()
        ends = self._parts[: 2 * count].tolist()
        return tuple(zip(ends[::2], ends[1::2], strict=True))

    def skip(self) -> None:
        """Take note of a packet that did not arrive as a whole."""
        search_nothing(self._memory)

    def forget(self) -> None:
        """Make it as new."""
        forget_search(self._memory)
