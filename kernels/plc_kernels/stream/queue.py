"""The packets that a stream holds, and their missing parts."""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, part
from plc_kernels.signal.history import copy
from plc_kernels.signal.packet import CHANNELS_AT, LARGEST, unpack_float32, unpack_int16
from plc_kernels.stream.arrays import Block, float_rows, integer_rows
from plc_kernels.stream.layout import (
    AHEAD,
    ARRIVED,
    CHANNELS,
    KNOWN_AT,
    LOOKAHEAD,
    MASK,
    PACKET,
    POSITION,
    PUSHED,
    QUEUE,
    SLOT,
    SLOTS,
    array,
)

LOST, WHOLE, PARTIAL = range(3)
"""What arrived of a packet. Of a partial one the mask has a byte for each sample: the channels that
are missing, bit by bit; 0 where it arrived."""
_BEGIN = 2**CHANNELS_AT - 1


@part
def slot_rows(block: Block, slot: int) -> NDArray[np.float32]:
    """Return the packet in a slot, float32, shape (channels, packet_samples)."""
    rows: NDArray[np.float32] = array(block, QUEUE)[slot]
    return rows


@inlined
def slot_at(block: Block, behind: int) -> int:
    """Return the slot of a packet, so many behind the one that is played."""
    return int((block[SLOT] + behind) % block[SLOTS])


@part
def begin_known(block: Block, samples: int) -> None:
    """Forget the sound known behind the next packet, unless it was handed over with that."""
    if block[KNOWN_AT] == block[PUSHED]:
        return
    block[KNOWN_AT] = block[PUSHED] if samples else -1
    states = array(block, ARRIVED)
    for k in range(block[AHEAD]):
        states[slot_at(block, block[LOOKAHEAD] + 2 + k)] = LOST


@part
def unpack(
    block: Block, packet: int, integer: bool, missing: NDArray[np.int64], count: int
) -> bool:
    """Copy a packet into the queue; return whether its samples are sound.

    Parameters
    ----------
    block : the stream's
    packet : int
        Address of its samples, float32 or int16, shape (packet_samples, channels).
    integer : bool, whether they are int16
    missing : int64, shape (2 n,)
        Begin and end of each part that did not arrive; the begin may say of which channels
        (:data:`~plc_kernels.signal.packet.CHANNELS_AT`).
    count : int
        Number of these parts. What stands there is not looked at: it becomes 0.
    """
    channels, n = block[CHANNELS], block[PACKET]
    rows = slot_rows(block, slot_at(block, block[LOOKAHEAD] + 1))
    sound = True
    begin = 0
    for k in range(count + 1):
        stop = missing[2 * k] & _BEGIN if k < count else n
        if integer:
            unpack_int16(integer_rows(packet, 0, (n, channels)), begin, stop, rows)
        else:
            sound &= unpack_float32(float_rows(packet, 0, (n, channels)), begin, stop, rows)
        if k < count:
            begin = missing[2 * k + 1]
            lost = _lost_channels(block, missing[2 * k])
            if lost == all_channels(block):
                rows[:, stop:begin] = np.float32(0.0)
            else:
                sound &= _unpack_kept(block, packet, integer, stop, begin, lost)
    return sound


@inlined
def all_channels(block: Block) -> int:
    """Return the channels of a stream, bit by bit."""
    return int((1 << block[CHANNELS]) - 1)


@inlined
def _lost_channels(block: Block, begin: int) -> int:
    """Return the channels that a missing part's begin names, bit by bit."""
    lost = begin >> CHANNELS_AT
    return lost if lost else all_channels(block)


@part
def _unpack_kept(
    block: Block, packet: int, integer: bool, begin: int, stop: int, lost: int
) -> bool:
    """Copy the channels of a part that arrived; return whether they are sound."""
    channels, n = block[CHANNELS], block[PACKET]
    rows = slot_rows(block, slot_at(block, block[LOOKAHEAD] + 1))
    if integer:
        unpack_int16(integer_rows(packet, 0, (n, channels)), begin, stop, rows)
    else:
        unpack_float32(float_rows(packet, 0, (n, channels)), begin, stop, rows)
    sound = True
    for c in range(channels):
        if lost >> c & 1:
            rows[c, begin:stop] = np.float32(0.0)
        for i in range(begin, stop):
            sound &= bool(abs(rows[c, i]) < LARGEST)
    return sound


@inlined
def add(block: Block, arrived: bool, missing: NDArray[np.int64], count: int) -> bool:
    """Add the packet that was unpacked last; return whether a packet's turn has come.

    It ``arrived`` if any of it did; ``missing`` and ``count`` are as for :func:`unpack`.
    """
    states = array(block, ARRIVED)
    states[block[SLOT]] = LOST  # it was played
    block[SLOT] = slot_at(block, 1)
    slot = slot_at(block, block[LOOKAHEAD])
    states[slot] = LOST
    if arrived:
        states[slot] = WHOLE
        if count > 0:
            states[slot] = PARTIAL
            mask = array(block, MASK)[slot]
            mask[:] = np.int8(0)
            for k in range(count):
                lost = np.int8(_lost_channels(block, missing[2 * k]))
                mask[missing[2 * k] & _BEGIN : missing[2 * k + 1]] = lost
    block[PUSHED] += 1
    block[POSITION] += block[PACKET]
    return bool(block[PUSHED] > block[LOOKAHEAD])


@part
def part_of(block: Block, slot: int, begin: int) -> tuple[bool, int]:
    """Return whether the part at a sample arrived, and its end."""
    n, state = block[PACKET], array(block, ARRIVED)[slot]
    if state != PARTIAL:
        return state == WHOLE, n
    mask = array(block, MASK)[slot]
    stop = begin + 1
    while stop < n and mask[stop] == mask[begin]:
        stop += 1
    return mask[begin] == 0, stop


@part
def kept_at(block: Block, slot: int, begin: int) -> int:
    """Return the channels that arrived of a sample, bit by bit."""
    state = array(block, ARRIVED)[slot]
    if state != PARTIAL:
        return all_channels(block) if state == WHOLE else 0
    lost = int(array(block, MASK)[slot, begin])
    return all_channels(block) & ~lost


@part
def gaps_in(block: Block, slot: int) -> int:
    """Return the number of missing parts of a packet."""
    gaps = 0
    at = 0
    while at < block[PACKET]:
        arrived, at = part_of(block, slot, at)
        gaps += not arrived
    return gaps


@part
def gap_from(block: Block, begin: int) -> int:
    """Return the samples missing from a sample of the playing packet on.

    0 if nothing after them arrived.
    """
    slots = block[SLOTS]
    gap = 0
    at = begin
    slot = block[SLOT]
    for _ in range(slots):
        while at < block[PACKET]:
            arrived, stop = part_of(block, slot, at)
            if arrived:
                return gap
            gap += stop - at
            at = stop
        at = 0
        slot = slot + 1 if slot + 1 < slots else 0
    return 0


@part
def copy_after(block: Block, begin: int, gap: int, out: NDArray[np.float32]) -> int:
    """Copy the samples received right after a gap; return their number.

    The gap, of ``gap`` samples, begins with sample ``begin`` of the playing packet. Parts are
    copied as long as they fit into ``out``, float32, shape (channels, n).
    """
    slots = block[SLOTS]
    known = 0
    passed = 0
    at = begin
    slot = block[SLOT]
    for _ in range(slots):
        while at < block[PACKET]:
            arrived, stop = part_of(block, slot, at)
            n = stop - at
            passed += n
            if passed > gap:
                if not arrived or known + n > out.shape[1]:
                    return known
                rows = slot_rows(block, slot)
                for c in range(out.shape[0]):
                    copy(rows[c, at:stop], out[c, known : known + n])
                known += n
            at = stop
        at = 0
        slot = slot + 1 if slot + 1 < slots else 0
    return known
