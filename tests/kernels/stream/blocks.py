"""Streams on a block of memory, driven as callers without Python's Concealer drive them."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc_kernels.stream import entry, layout, model_file
from plc_kernels.stream.arrays import Block
from plc_kernels.stream.networks import PREPARES, fill_part
from plc_kernels.stream.preparation import look
from plc_kernels.stream.step import DRAIN, GO_ON, MORE, PUSH, WANTS_FILL, step_many

LINE = 8
"""Words of 64 bytes: blocks begin at a multiple of that."""
GUARD = 0x5A5A5A5A5A5A5A5A
Missing = Sequence[tuple[int, int]]


def settings_of(
    rate: int = 16_000,
    channels: int = 1,
    packet: int = 160,
    lookahead: int = 0,
    seed: int = 0,
    first: int = 0,
    seam: int = 0,
    prepares: int = 0,
) -> NDArray[np.int64]:
    """Return what :func:`plc_kernels.stream.entry.prepare` takes."""
    settings = np.zeros(entry.SETTINGS, np.int64)
    settings[:7] = rate, channels, packet, lookahead, seed, first, seam
    settings[9] = prepares
    return settings


def block_of(words: int, apart: int = 0) -> Block:
    """Return zeros that begin at a multiple of 64 bytes, between guards."""
    memory = np.full(words + (4 + apart) * LINE, GUARD, np.int64)
    begin = LINE * (1 + apart) + -memory.ctypes.data // 8 % LINE
    block = memory[begin : begin + words]
    block[:] = 0
    return block


def opened(file: bytes) -> Block | None:
    """Return the block that a model's file makes, between guards; None if the file is refused."""
    given = np.frombuffer(file, np.int64).copy()
    size = model_file.block_size(given.ctypes.data, given.nbytes)
    if not size:
        return None
    block = block_of(size // 8)
    sound = model_file.open_block(given.ctypes.data, given.nbytes, block.ctypes.data)
    memory = block.base
    assert isinstance(memory, np.ndarray)
    assert int((memory == GUARD).sum()) >= memory.size - block.size
    return block if sound else None


def extents(header: Block) -> Iterator[tuple[int, int]]:
    """Yield the first byte of each array of a block, and the one after its last, in order.

    Those of networks and of prepared bursts are not among them.
    """
    for word in range(layout.RING, layout.DRAFT):
        dtype, shape = layout.TABLE.arrays[word]
        lengths = [int(header[extent]) if extent >= 0 else -extent for extent in shape]
        begin = int(header[word])
        yield begin, begin + math.prod(lengths) * dtype.itemsize


class Stream:
    """A stream of :mod:`plc_kernels.stream.entry`.

    Parameters
    ----------
    settings : int64, shape (SETTINGS,)
    model : int64, shape (n,), or None
        Flat files of its networks, one after another.

    Attributes
    ----------
    flags : int
        All that the step has answered so far.
    steps : int, how often it was asked
    drafts : list of float32, shape (channels, n)
        What it showed on the way.
    """

    def __init__(self, settings: NDArray[np.int64], model: NDArray[np.int64] | None = None) -> None:
        self._model = model
        settings = settings.copy()
        settings[7], settings[10] = (0, 0) if model is None else (model.ctypes.data, model.nbytes)
        header = np.zeros(layout.HEADER, np.int64)
        size = entry.prepare(settings, header)
        assert size
        self.block = block_of(size // 8)
        entry.open_block(settings, self.block)
        self.shape = int(settings[2]), int(settings[1])
        self.dtype: Any = np.float32
        self.flags = 0
        self.drafts: list[NDArray[np.float32]] = []

    def move(self) -> None:
        """Copy the block to another place, and spoil the memory where it was."""
        before = self.block
        self.block = block_of(before.size, apart=3)
        self.block[:] = before
        before.fill(-1)

    def push(
        self, packet: NDArray[Any] | None, missing: Missing = (), gain: float = 1.0
    ) -> NDArray[Any]:
        """Take a packet in; return the one to play. Drafts that are shown are multiplied."""
        if packet is not None:
            self.dtype = packet.dtype
        return self._run(PUSH, packet, missing, gain)

    def look(self) -> bool:
        """Begin to prepare the burst that begins with the next packet."""
        at = int(self.block[layout.POSITION] + self.block[layout.PACKET])
        return bool(look(self.block, at))

    def prepare(self) -> None:
        """Prepare the burst that was seen last."""
        address = 0 if self._model is None else self._model.ctypes.data
        self.block[layout.PREPARED_AT] = fill_part(self.block, address, PREPARES)

    def flush(self, packets: int) -> NDArray[Any]:
        """Return the last packets."""
        played = [self._run(DRAIN, None, ()) for _ in range(packets)]
        return np.concatenate([np.zeros((0, self.shape[1]), self.dtype), *played])

    def _run(
        self, action: int, packet: NDArray[Any] | None, missing: Missing, gain: float = 1.0
    ) -> NDArray[Any]:
        gaps = np.zeros(2 * self.shape[0] + 2, np.int64)
        gaps[: 2 * len(missing)] = np.ravel(missing)
        integer = self.dtype == np.int16
        box = np.zeros(self.shape, self.dtype)
        if packet is not None:
            box[:] = packet.reshape(self.shape)
        place, arrived = box.ctypes.data, packet is not None
        block = self.block
        block[layout.TAKES] = arrived
        around = (integer, gaps, len(missing), place, 0, 1)
        flags = step_many(block[None], action, place, 0, *around)
        while True:
            if self._model is not None:
                fill_part(block, self._model.ctypes.data, flags)
            if not flags & MORE:
                break
            if flags & WANTS_FILL:
                n = int(block[layout.FILL_SAMPLES])
                begin = int(block[layout.FILL]) // 8
                draft = block[begin:].view(np.float32)[: n * self.shape[1]]
                self.drafts.append(draft.reshape(self.shape[1], n).copy())
                draft *= np.float32(gain)
            self.flags |= flags
            flags = step_many(block[None], GO_ON, place, 0, *around)
        self.flags |= flags
        return box

    @property
    def guarded(self) -> bool:
        """Whether what lies around the block is as it was."""
        memory: Any = self.block.base
        begin = (self.block.ctypes.data - memory.ctypes.data) // 8
        around = np.concatenate([memory[:begin], memory[begin + self.block.size :]])
        return bool((around == GUARD).all())

    def counter(self, name: str) -> int:
        """Return one of :data:`plc_kernels.stream.layout.COUNTERS`."""
        return int(self.block[layout.STATS + layout.COUNTERS.index(name)])
