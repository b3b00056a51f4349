"""A bound on the level of concealments, from recently received samples.

Every concealed sample of a stream passes here, behind prediction, networks and comfort noise,
before it is played and before it becomes history. The bound follows from received samples alone, so
it holds for a prediction that feeds on its own output and for a network that answers anything.
"""

import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, kernel, part
from plc_kernels.signal.level import (
    allowed_level,
    follow_level,
    hold_level,
    quieten,
    quietest_power,
)
from plc_kernels.signal.packet import LARGEST, unpack_float32, unpack_int16
from plc_kernels.stream import layout as at
from plc_kernels.stream.arrays import Block, float_rows, floats, integer_rows
from plc_kernels.stream.layout import (
    ARRIVED,
    LEVEL_ALLOWED,
    LEVEL_COUNTS,
    LEVEL_ENERGIES,
    LEVEL_NOISE,
    LEVEL_PEAKS,
    LEVEL_QUIETEST,
    LEVEL_RECENT,
    LEVEL_SLOTS,
    LEVEL_STATE,
    MASK,
)
from plc_kernels.stream.queue import (
    LOST,
    PARTIAL,
    WHOLE,
    all_channels,
    begin_known,
    part_of,
    slot_at,
    slot_rows,
)

PEAK_RATIO = 1.5
"""A concealment's largest sample over the largest received lately: +3.5 dB. As far as a prediction
may overshoot what it was fitted on."""
POWER_RATIO = 1.9
"""The same for the mean power, smoothed over 5 ms: +2.8 dB."""
ENERGY_RATIO = 2.4
"""The same for any 5 ms of it: +3.8 dB. The smoothed one alone allows 5.8 dB while it rises, which
a network that is quiet and loud in turn would make use of."""
# Where less than this share of the last half second was received, older samples allow less.
_MOSTLY_RECEIVED = 0.6
# So it is where what was received of it is 60 dB below the loudest: the sound has ended.
_SILENCE = 1e-3
# Comfort noise over the quietest 5 ms received lately: +10 dB, as far as a hum varies within those.
_NOISE_RATIO = 10.0


@part
def start_limit(block: Block) -> None:
    """Forget the received levels."""
    at.array(block, LEVEL_SLOTS)[:] = -1
    block[at.NEWEST] = 0
    at.reals(block)[at.RECEIVED_SHARE] = 1.0
    at.array(block, LEVEL_STATE)[:] = 0.0
    begin_limit(block)


@part
def begin_limit(block: Block) -> None:
    """Note the begin of a burst."""
    at.array(block, LEVEL_STATE)[:, 0] = 1.0
    block[at.BEGINS] = 1
    at.array(block, LEVEL_NOISE)[:] = 0.0


@part
def follow_newest(block: Block) -> None:
    """Take in the newest packet: its received and its lost samples."""
    slot = slot_at(block, block[at.LOOKAHEAD])
    begin = 0
    while begin < block[at.PACKET]:
        arrived, stop = part_of(block, slot, begin)
        follow_share(block, arrived, stop - begin)
        if arrived:
            _follow_part(block, slot, (block[at.PUSHED] - 1) * block[at.PACKET], begin, stop)
        begin = stop


@part
def _follow_part(block: Block, slot: int, position: int, begin: int, stop: int) -> None:
    """Take in the levels of a part of the packet in a slot, whose place is ``position``."""
    hop = block[at.HOP]
    block[at.NEWEST] = max(block[at.NEWEST], (position + stop - 1) // hop)
    follow_level(
        slot_rows(block, slot),
        begin,
        stop,
        position,
        hop,
        at.array(block, LEVEL_SLOTS),
        at.array(block, LEVEL_COUNTS),
        at.array(block, LEVEL_PEAKS),
        at.array(block, LEVEL_ENERGIES),
    )


@kernel
def know(block: Block, address: int, integer: bool, samples: int, distance: int) -> int:
    """Take in a known stretch behind the packet pushed next; return 0 if it is not sound.

    What was known before another packet is forgotten; no samples: that alone.

    Parameters
    ----------
    block : the stream's
    address : int
        Address of float32 or int16, shape (samples, channels).
    integer : bool, whether they are int16
    samples : int
    distance : int
        Samples between the end of the next packet and the first of them, at least 0. What is
        farther than bridges make use of is left out.
    """
    channels, n = block[at.CHANNELS], block[at.PACKET]
    here, stop = distance, min(distance + samples, block[at.AHEAD] * n)
    if not integer and here < stop:
        flat = floats(address, 0, (stop - here) * channels)
        for i in range(flat.size):
            if not abs(flat[i]) < LARGEST:
                return 0
    begin_known(block, samples)
    each = (2 if integer else 4) * channels
    while here < stop:
        slot = slot_at(block, block[at.LOOKAHEAD] + 2 + here // n)
        begin = here % n
        end = min(n, begin + stop - here)
        from_there = address + each * (here - distance - begin)
        here += end - begin
        states, mask = at.array(block, ARRIVED), at.array(block, MASK)[slot]
        if states[slot] == LOST:
            states[slot] = PARTIAL
            mask[:] = np.int8(all_channels(block))
        if states[slot] == WHOLE or not mask[begin:end].any():
            continue
        mask[begin:end] = 0
        if not mask.any():
            states[slot] = WHOLE
        if integer:
            unpack_int16(
                integer_rows(from_there, 0, (end, channels)), begin, end, slot_rows(block, slot)
            )
        else:
            unpack_float32(
                float_rows(from_there, 0, (end, channels)), begin, end, slot_rows(block, slot)
            )
        position = (block[at.PUSHED] + (here - 1) // n + 1) * n
        _follow_part(block, slot, position, begin, end)
    return 1


@inlined
def follow_share(block: Block, arrived: bool, n: int) -> None:
    """Take the next samples, received or lost, into the share of those that were received."""
    numbers = at.reals(block)
    remembered = math.exp(numbers[at.SHARE_RATE] * n)
    share = numbers[at.RECEIVED_SHARE]
    numbers[at.RECEIVED_SHARE] = 1.0 - remembered * (1.0 - share) if arrived else share * remembered


@inlined
def _newest_at(block: Block, position: int) -> int:
    """Return the slot that ages are counted from: the playing one, or soon after the received.

    A prediction ends that long after the last received sample; comfort noise goes on, at the
    level last known.
    """
    return int(min(block[at.NEWEST] + block[at.LEVEL_REACH], position // block[at.HOP]))


@part
def limit_noise(block: Block, position: int, noise: NDArray[np.float32]) -> None:
    """Limit comfort noise, as :func:`hold` does, by the quietest level received lately."""
    quietest = at.array(block, LEVEL_QUIETEST)
    quietest_power(
        _newest_at(block, position),
        block[at.HOP],
        block[at.LEVEL_HOLD],
        at.array(block, LEVEL_SLOTS),
        at.array(block, LEVEL_COUNTS),
        at.array(block, LEVEL_ENERGIES),
        quietest,
    )
    power = at.array(block, LEVEL_NOISE)
    for c in range(noise.shape[0]):
        most = _NOISE_RATIO * quietest[c]
        quieten(most, at.reals(block)[at.NOISE_SMOOTHING], power[c : c + 1], noise[c])


@part
def hold(block: Block, position: int, rows: NDArray[np.float32]) -> bool:
    """Hold a concealment within the bound; return whether it changed.

    ``rows``, read and written, are float32, shape (channels, n); before them ``position`` samples
    of the stream were played.
    """
    numbers = at.reals(block)
    hop = block[at.HOP]
    allowed = at.array(block, LEVEL_ALLOWED)
    allowed_level(
        _newest_at(block, position),
        hop,
        block[at.LEVEL_HOLD],
        block[at.LEVEL_FORGET],
        block[at.LEVEL_LATELY],
        at.array(block, LEVEL_SLOTS),
        at.array(block, LEVEL_COUNTS),
        at.array(block, LEVEL_PEAKS),
        at.array(block, LEVEL_ENERGIES),
        allowed,
    )
    by_age = numbers[at.RECEIVED_SHARE] < _MOSTLY_RECEIVED
    states = at.array(block, LEVEL_STATE)
    recent = at.array(block, LEVEL_RECENT)
    acted = False
    for c in range(rows.shape[0]):
        peak, power = allowed[c, 0], allowed[c, 1]
        if not by_age and peak > _SILENCE * allowed[c, 2]:
            peak, power = allowed[c, 2], allowed[c, 3]
        if block[at.BEGINS]:
            states[c, 1] = power
            recent[c, :] = power
        acted |= hold_within(
            peak, power, hop, numbers[at.SMOOTHING], block[at.GLIDE], states[c], recent[c], rows[c]
        )
    block[at.BEGINS] = 0
    return acted


@kernel
def hold_within(
    peak: float,
    power: float,
    hop: int,
    smoothing: float,
    glide: int,
    state: NDArray[np.float64],
    recent: NDArray[np.float64],
    row: NDArray[np.float32],
) -> bool:
    """Hold a concealment near a received peak and mean power.

    Parameters
    ----------
    peak, power : float
        As received, at least 0.
    hop : int, samples of 5 ms
    smoothing, glide, state, recent, row : as for :func:`~plc_kernels.signal.level.hold_level`
    """
    return hold_level(
        PEAK_RATIO * peak,
        POWER_RATIO * power,
        ENERGY_RATIO * power * hop,
        smoothing,
        glide,
        state,
        recent,
        row,
    )
