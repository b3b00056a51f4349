"""Dropouts in packets that arrived: ``detect_dropouts=True``.

What was before the stream, such as a bridge or a driver that ran empty, may have put silence or an
old block in the place of sound. Such packets arrive; here they are recognised, and become lost
(:mod:`plc_kernels.signal.dropouts`).
"""

import numpy as np
from numpy.typing import NDArray

from plc.engine.stream.config import StreamConfig
from plc.engine.stream.samples import INT16, Packet, Parts
from plc.engine.stream.stats import Stats
from plc.errors import not_copied
from plc_kernels.stream.dropout_search import (
    HEAD,
    PARTS,
    SIZE,
    forget_search,
    lay_out_search,
    search,
    search_nothing,
)


class DropoutFinder:
    """Dropouts of one stream, packet by packet.

    ``memory`` is int64, shape (:meth:`words`,), where it is to be; None: in memory of its own.
    """

    def __init__(self, config: StreamConfig, memory: NDArray[np.int64] | None = None) -> None:
        head = _head_of(config)
        self.memory = np.empty(self.words(config), np.int64) if memory is None else memory
        """All that it knows, shape (:meth:`words`,)."""
        self.memory.fill(0)
        self.memory[:HEAD] = head
        parts = int(head[PARTS]) // 8
        self._parts = self.memory[parts : parts + config.packet_samples + 1]
        self._whole = ((0, config.packet_samples),)

    __reduce_ex__ = not_copied("make another of the same config")

    @staticmethod
    def words(config: StreamConfig) -> int:
        """Return the words of memory that it takes."""
        return int(_head_of(config)[SIZE]) // 8

    def look_through(
        self, packet: Packet, received: bool, missing: Parts, stats: Stats
    ) -> tuple[bool, Parts]:
        """Return whether any of a packet is there, and its missing parts.

        ``packet``, the stream's next, is float32 or int16, shape (packet_samples, channels),
        C-contiguous; the parts ``missing`` of it did not arrive. ``stats`` count the dropouts.
        """
        if not received or missing:
            self.skip()
            return received, missing
        found = self.look_at(packet)
        stats.detected_dropouts += bool(found)
        whole = found == self._whole
        return not whole, () if whole else found

    def look_at(self, packet: Packet) -> Parts:
        """Return the parts of a packet that are dropouts, in order.

        ``packet``, as it arrived, is float32 or int16, shape (packet_samples, channels),
        C-contiguous. The begin of a dropout that is not in all channels says of which it is
        (:data:`~plc_kernels.signal.packet.CHANNELS_AT`).
        """
        count = search(self.memory, packet.ctypes.data, packet.dtype == INT16)
        if not count:
            return ()
        ends = self._parts[: 2 * count].tolist()
        return tuple(zip(ends[::2], ends[1::2], strict=True))

    def skip(self) -> None:
        """Take note of a packet that did not arrive as a whole."""
        search_nothing(self.memory)

    def forget(self) -> None:
        """Make it as new."""
        forget_search(self.memory)


def _head_of(config: StreamConfig) -> NDArray[np.int64]:
    head = np.zeros(HEAD, np.int64)
    stream = config.sample_rate, config.channels, config.packet_samples
    lay_out_search(np.array(stream), head)
    return head
