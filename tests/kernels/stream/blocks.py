"""Streams on a block of memory, driven as callers without Python's Concealer drive them."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc_kernels.content import APART_FRAMES, AVERAGES, CHANGE_BINS, FEATURES
from plc_kernels.edges import edge_sizes
from plc_kernels.level import LATELY_S
from plc_kernels.noise import BAND_HZ, BAND_LIMIT_HZ, ROWS, frame_samples
from plc_kernels.noise_filling import LEVEL_ROWS, filling_samples
from plc_kernels.spectra.fft import MOST_FACTORS, twiddle_count
from plc_kernels.stream import entry, layout, model_file
from plc_kernels.stream.layout import Block
from plc_kernels.stream.many import step_many
from plc_kernels.stream.network import fill_part
from plc_kernels.stream.preparation import look, prepare
from plc_kernels.stream.step import DRAIN, GO_ON, MORE, PUSH, WANTS_FILL

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


def arrays_of(header: Block) -> dict[int, tuple[type, tuple[int, ...]]]:
    """Return dtype and shape of each array of a block, by the word that holds its place."""
    rate, channels, n = (int(header[k]) for k in (layout.RATE, layout.CHANNELS, layout.PACKET))
    slots = int(header[layout.LOOKAHEAD]) + 1
    past, order = int(header[layout.PAST]), int(header[layout.MOST_ORDER])
    inside = bool(header[layout.INSIDE])

    def samples(ms: float) -> int:
        return round(rate * ms / 1000.0)

    looked, edge_order = edge_sizes(rate)
    short = int(filling_samples(rate)) if header[layout.FILLS_NOISE] else 0
    reach = min((slots - 1) * n, max(samples(layout.STEADY_HOLD_MS), n))
    ramp = max(1, samples(layout.RECOVERY_MS))
    hop = max(1, samples(layout.SLOT_MS))
    seen = round(1000.0 * LATELY_S / layout.SLOT_MS) + math.ceil((slots - 1) * n / hop) + 2
    frame = frame_samples(rate)
    half = frame // 2
    bands = int(min(BAND_LIMIT_HZ, rate / 2) * frame / rate) // max(
        1, round(BAND_HZ * frame / rate)
    )
    fit = past + 2 * reach if inside else 0
    through = reach + samples(layout.RUN_ON_MS) if inside else 0
    several = channels > 1
    guide = min(past, samples(layout.GUIDE_MS))
    guide_order = min(samples(layout.GUIDE_ORDER_MS), layout.GUIDE_MOST_ORDER, guide // 4)
    f4, f8, i8 = np.float32, np.float64, np.int64
    return {
        layout.RING: (f4, (channels, past)),
        layout.QUEUE: (f4, (slots, channels, n)),
        layout.MASK: (np.int8, (slots, n)),
        layout.ARRIVED: (i8, (slots,)),
        layout.MISSING: (i8, (n + 1, 2)),
        layout.INBOX: (f4, (n, channels)),
        layout.PLAYING: (f4, (channels, n)),
        layout.FILL: (f4, (channels, n)),
        layout.NOISE: (f4, (channels, n)),
        layout.GAIN: (f4, (n,)),
        layout.BRIDGE_ROWS: (f4, (channels, reach)),
        layout.AFTER: (f4, (channels, reach)),
        layout.RAMP: (f4, (ramp,)),
        layout.QUICK_RAMP: (f4, (ramp,)),
        layout.LEVEL_SLOTS: (i8, (seen,)),
        layout.LEVEL_COUNTS: (i8, (seen,)),
        layout.LEVEL_PEAKS: (f4, (channels, seen)),
        layout.LEVEL_ENERGIES: (f8, (channels, seen)),
        layout.LEVEL_ALLOWED: (f8, (channels, 4)),
        layout.LEVEL_STATE: (f8, (channels, 3)),
        layout.LEVEL_RECENT: (f8, (channels, hop)),
        layout.LEVEL_QUIETEST: (f8, (channels,)),
        layout.LEVEL_NOISE: (f8, (channels,)),
        layout.HEARD_FRAME: (f4, (channels, frame)),
        layout.HALF_FRAME: (f4, (channels, half)),
        layout.FACTORS: (i8, (MOST_FACTORS,)),
        layout.TWIDDLES: (f4, (2, int(twiddle_count(frame)))),
        layout.SCRATCH: (f4, (4, half)),
        layout.WINDOWS: (f4, (2, frame)),
        layout.FRAME: (f4, (frame,)),
        layout.SPECTRUM: (np.complex64, (half + 1,)),
        layout.LEVELS: (f4, (channels, ROWS, half + 1)),
        layout.BANDS: (f4, (channels, bands)),
        layout.NOISE_COUNTS: (i8, (channels, 4)),
        layout.FLUX: (f4, (channels, 2)),
        layout.NOISE_TAIL: (f4, (channels, half)),
        layout.RANDOM: (np.uint64, (channels,)),
        layout.POWER_SUM: (f4, (half + 1,)),
        layout.CONTENT_AVERAGES: (f8, (AVERAGES,)),
        layout.CONTENT_LOGS: (f8, (APART_FRAMES + 1, CHANGE_BINS)),
        layout.CONTENT_COUNTS: (i8, (4,)),
        layout.CONTENT_FEATURES: (f8, (len(FEATURES),)),
        layout.FIT_FORWARD: (f4, (fit,)),
        layout.FIT_BACKWARD: (f4, (fit,)),
        layout.FIT_MIRROR: (f8, (order + 1,)),
        layout.PREDICTOR: (f8, (order + 1,)),
        layout.TAPS: (f8, (channels, order)),
        layout.RECENT: (f8, (channels, order)),
        layout.LINE: (f8, (order + layout.CHUNK,)),
        layout.FIT_PAST: (f4, (fit,)),
        layout.LEAD_IN: (f4, (through,)),
        layout.THROUGH: (f4, (channels, through)),
        layout.ORDERS: (i8, (channels,)),
        layout.LIMITS: (f8, (channels,)),
        layout.TIMES: (i8, (2, layout.TIME_BINS)),
        layout.GUIDE_ROWS: (f4, (3, guide if several else 0)),
        layout.GUIDE_FIT: (f8, (3, guide_order + 1 if several else 0)),
        layout.GUIDE_LINES: (
            f8,
            (2, guide_order + samples(layout.REHEARSED_MS) if several else 0),
        ),
        layout.GUIDE_GAINS: (f8, (channels if several else 0, 2)),
        layout.EDGE_ROWS: (f4, (3, looked)),
        layout.EDGE_FIT: (f8, (3, edge_order + 1)),
        layout.EDGE_LINE: (f8, (looked,)),
        layout.FILLING_WINDOWS: (f4, (2, short)),
        layout.FILLING_FACTORS: (i8, (MOST_FACTORS,)),
        layout.FILLING_TWIDDLES: (f4, (2, int(twiddle_count(short)) if short else 0)),
        layout.FILLING_SCRATCH: (f4, (4, short // 2)),
        layout.FILLING_FRAME: (f4, (short,)),
        layout.FILLING_SPECTRUM: (np.complex64, (short // 2 + 1,)),
        layout.FILLING_PAST: (f4, (channels, short)),
        layout.FILLING_NOISE: (f4, (channels, short)),
        layout.FILLING_LEVELS: (f4, (channels, LEVEL_ROWS, short // 2 + 1)),
        layout.FILLING_RANDOM: (np.uint64, (1,)),
    }


def extents(header: Block) -> Iterator[tuple[int, int]]:
    """Yield the first byte of each array of a block, and the one after its last, in order."""
    for word, (dtype, shape) in arrays_of(header).items():
        begin = int(header[word])
        yield begin, begin + math.prod(shape) * np.dtype(dtype).itemsize


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
        self.block[layout.PREPARED_AT] = prepare(self.block, address)

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
