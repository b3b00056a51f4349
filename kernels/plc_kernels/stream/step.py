"""One stream's step: a packet in, the packet due out.

Where a network fills a concealment, or the caller does (the word SEAM), :func:`step` ends early,
says what it needs, and is called again with GO_ON once the samples are written::

    PUSH ─▶ part received ─▶ PLAYED ────────────────────────────▶ done
     │
     └────▶ part lost ─▶ MORE | what it wants ─▶ GO_ON ─▶ PLAYED ─▶ done, or MORE ─▶ GO_ON …

    level            1 ──────────────╮ hold           ╭── crossfade into the first
                                      ╲ fade          │   received samples
    background       ──────────────────╲──────────────┴──
                     │ burst begins                   │ recovery
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, kernel, part
from plc_kernels.build.denormals import flush_denormals, restore_denormals
from plc_kernels.signal.history import copy
from plc_kernels.signal.packet import pack_float32, pack_int16
from plc_kernels.stream import background, bridge, extend, fill_limit, neighbours, noise, queue
from plc_kernels.stream import layout as at
from plc_kernels.stream.arrays import Block, float_rows, integer_rows
from plc_kernels.stream.layout import (
    BRIDGE_ROWS,
    FILL,
    FLAGS,
    PLAYING,
    TAKES,
    array,
    reals,
)
from plc_kernels.stream.received import learn, play_received, recover, remember
from plc_kernels.stream.start import note_time

PUSH, GO_ON, DRAIN = range(3)
"""What to do: take in a packet; go on with one; or play one more without counting a packet."""

CONCEALED = 1
"""Something of what came out was made up."""
CROSSFADED = 2
"""What came out begins in a crossfade out of a concealment."""
REFUSED = 4
"""The packet held NaN, an infinity or a sample above 1e6: it counts as lost."""
WANTS_FILL = 8
"""``FILL_SAMPLES`` samples are to be written to ``FILL``; with SEAM it holds the prediction."""
BEGAN = 16
"""A burst begins."""
WANTS_BRIDGE = 32
"""``GAP`` samples are to be written to ``BRIDGE_ROWS``, with what follows them in ``AFTER``."""
GOES_ON = 64
"""The burst goes on in another packet."""
PLAYED = 128
"""Samples PART_BEGIN to PART_STOP of ``PLAYING`` were played; the network of music reads them."""
MORE = 512
"""The packet is not done."""
NEXT_LOST = 1024
"""A part of the packet that is played next is known to be lost."""

_RECEIVED, _RECOVER, _EXTEND, _BRIDGE, PLAYS_NOISE = range(5)
"""What is done for a part of a packet, in PLAY: `received`, `extend`, `bridge`, `noise` do it."""


@inlined
def step(
    block: Block,
    action: int,
    packet: int,
    integer: bool,
    arrived: bool,
    missing: NDArray[np.int64],
    count: int,
    out: int,
) -> int:
    """Take in a packet and play one, or go on with it.

    Parameters
    ----------
    block : the stream's
    action : int
        :data:`PUSH` for a packet, :data:`DRAIN` for what is left at the end. Where the answer has
        ``MORE``, :data:`GO_ON`: after ``PLAYED`` with the next part, else with what was written for
        the part that wanted it.
    packet : int
        Address of the samples, shape (packet_samples, channels): not read unless it arrived.
    integer : bool
        Whether they are int16, and not float32; the output is likewise.
    arrived : bool, whether the packet did
    missing : int64, shape (2 n,)
        Begin and end of each part of it that did not.
    count : int, of these parts
    out : int
        Address of as much memory, written once the packet is done; may be ``packet``.

    Returns
    -------
    int
        A sum of the constants of the module.
    """
    before = flush_denormals()
    flags = 0
    more = True
    if action != GO_ON:
        note_time(block)
        block[at.PACKETS] += action == PUSH
        block[at.LOST_PACKETS] += action == PUSH and not arrived
        flags, more = _accept(block, packet, integer, arrived, missing, count)
    elif block[at.WAITS]:
        block[at.WAITS] = 0
        flags = _finish(block)
        if _tells(block) and block[at.PART_STOP] < block[at.PACKET]:
            flags |= MORE
            more = False
    if more:
        flags |= _play(block)
    if block[at.WAITS] or not _tells(block):
        flags &= ~PLAYED
    if not flags & MORE:
        _pack(block, out)
        flags |= (CONCEALED if block[at.CONCEALED_NOW] else 0) | _next_lost(block)
    restore_denormals(before)
    return flags


@part
def _accept(
    block: Block,
    packet: int,
    integer: bool,
    arrived: bool,
    missing: NDArray[np.int64],
    count: int,
) -> tuple[int, bool]:
    """Take in a packet; return flags, and whether the turn of one has come."""
    block[at.PARTIAL_PACKETS] += arrived and count > 0
    block[at.INTEGER] = integer
    sound = arrived and queue.unpack(block, packet, integer, missing, count)
    refused = arrived and not sound
    block[at.INVALID_PACKETS] += refused
    ready = queue.add(block, sound, missing, count)
    fill_limit.follow_newest(block)
    block[at.CONCEALED_NOW] = 0
    block[at.WAITS] = 0
    block[at.PART_BEGIN] = 0
    block[at.PART_STOP] = 0
    if ready:  # the packet's time is shared among its bursts
        numbers = reals(block)
        gaps = queue.gaps_in(block, block[at.SLOT])
        numbers[at.BURST_MS] = min(numbers[at.HURRY_MS], numbers[at.LIMIT_MS] / max(gaps, 1))
    else:
        array(block, PLAYING)[:] = np.float32(0.0)
    return REFUSED if refused else 0, ready


@inlined
def _play(block: Block) -> int:
    """Play part after part, as far as nothing is needed from outside."""
    flags = 0
    while block[at.PART_STOP] < block[at.PACKET]:
        flags |= _begin_part(block)
        if flags & MORE:
            if not block[at.NETWORK]:
                _fill(block)
            if block[at.NETWORK] or (block[at.SEAM] and flags & WANTS_FILL):
                block[at.WAITS] = 1
                return flags
            flags &= ~(MORE | WANTS_FILL | WANTS_BRIDGE | GOES_ON | BEGAN)
            flags |= _finish(block)
        elif _tells(block) and block[at.PART_STOP] < block[at.PACKET]:
            return flags | MORE
    return flags


@inlined
def _tells(block: Block) -> bool:
    """Return whether the step returns after each part that it played."""
    return bool(block[at.LISTENS] and is_heard(block) and reals(block)[at.HURRY_MS] == np.inf)


@inlined
def is_heard(block: Block) -> bool:
    """Return whether a network for music may draw on the played samples."""
    return bool(block[at.PLAYED_AT] - block[at.MUSIC_AT] <= block[at.HEARD_SAMPLES])


@inlined
def _next_lost(block: Block) -> int:
    if not block[at.LOOKAHEAD] or block[at.PUSHED] < block[at.LOOKAHEAD]:
        return 0
    return NEXT_LOST if queue.gaps_in(block, queue.slot_at(block, 1)) else 0


@inlined
def _pack(block: Block, out: int) -> None:
    channels, n = block[at.CHANNELS], block[at.PACKET]
    rows = array(block, PLAYING)
    if block[at.INTEGER]:
        pack_int16(rows, integer_rows(out, 0, (n, channels)))
    else:
        pack_float32(rows, float_rows(out, 0, (n, channels)))


@inlined
def _decide(block: Block, arrived: bool, far_side_known: bool) -> int:
    if arrived:
        return _RECOVER if block[at.IN_BURST] else _RECEIVED
    if not block[at.IN_BURST] or block[at.RECOVERED]:
        return _BRIDGE if far_side_known else _EXTEND
    if block[at.BRIDGE] > block[at.BRIDGED]:
        return _BRIDGE
    # A bridge may begin up to LATE samples after the level began to fall.
    if far_side_known and block[at.AGE] < block[at.HOLD] + block[at.LATE]:
        return _BRIDGE
    return PLAYS_NOISE if noise.has_faded(block) else _EXTEND


@part
def _begin_part(block: Block) -> int:
    """Begin the next part: play it, or return flags for the fill or bridge that it needs."""
    begin = block[at.PART_BEGIN] = block[at.PART_STOP]
    arrived, stop = queue.part_of(block, block[at.SLOT], begin)
    block[at.PART_STOP] = stop
    block[at.PLAYED_AT] = block[at.POSITION] + begin
    if not background.is_speech(block):
        block[at.MUSIC_AT] = block[at.PLAYED_AT]
    block[at.TOTAL_SAMPLES] += stop - begin
    gap, known = (0, 0) if arrived else bridge.known_behind(block, begin)
    play = block[at.PLAY] = _decide(block, arrived, gap > 0)
    if play == _RECEIVED:
        play_received(block)
        return PLAYED
    if play == _RECOVER:
        if block[at.LANDED] and block[at.BRIDGED] == block[at.BRIDGE]:
            block[at.IN_BURST] = 0
            play_received(block)
            return PLAYED
        block[at.FILL_SAMPLES] = min(block[at.RAMP_SAMPLES] - block[at.RECOVERED], stop - begin)
        return MORE | (0 if noise.has_faded(block) else WANTS_FILL)
    background.interrupt(block)
    block[at.CONCEALED_NOW] = 1
    flags = MORE
    began = not block[at.IN_BURST] or block[at.RECOVERED] > 0
    if began:
        _begin_burst(block, gap if play == _BRIDGE else 0)
        flags |= BEGAN
    block[at.FILL_SAMPLES] = stop - begin
    if play == _BRIDGE:
        if block[at.BRIDGED] == block[at.BRIDGE]:
            block[at.KNOWN] = known
            block[at.BRIDGED] = 0
            block[at.BRIDGE] = gap
            block[at.FADING] = block[at.AGE] > block[at.HOLD]
            flags |= WANTS_BRIDGE
        return flags
    if block[at.AGE]:
        flags |= GOES_ON
    if not noise.has_faded(block):
        flags |= WANTS_FILL
    return flags


@part
def _begin_burst(block: Block, gap: int) -> None:
    """Begin a burst; ``gap`` samples are bridged as a whole."""
    block[at.GAP] = gap
    extend.gather(block)
    block[at.IN_BURST] = 1
    block[at.HOLD] = block[at.UNSTEADY_HOLD] if block[at.UNSTEADY] else block[at.STEADY_HOLD]
    block[at.LATE] = 0
    block[at.AGE] = 0
    block[at.RECOVERED] = 0
    block[at.BRIDGED] = 0
    block[at.BRIDGE] = 0
    block[at.LANDED] = 0
    block[at.KEPT] = -1
    fill_limit.begin_limit(block)
    noise.begin_filling(block)
    block[at.EVENTS] += 1
    block[at.TAKEN] = extend.take_prepared(block)
    if not block[at.TAKEN]:
        extend.begin(block)


@inlined
def _fill(block: Block) -> None:
    if block[at.PLAY] == _BRIDGE:
        is_prepared = block[at.TAKEN] and block[at.AGE] == 0
        if block[at.BRIDGED] > 0 or block[at.BRIDGE] == 0 or is_prepared:
            return
        bridge.predict(block)
    elif not noise.has_faded(block):
        n = block[at.FILL_SAMPLES]
        extend.extend(block, float_rows(block, FILL, (block[at.CHANNELS], n)))


@part
def _finish(block: Block) -> int:
    if block[at.PLAY] == _RECOVER:
        recover(block)
        learn(block)
        return CROSSFADED | PLAYED
    return _conceal(block)


@part
def _conceal(block: Block) -> int:
    channels = block[at.CHANNELS]
    begin, stop = block[at.PART_BEGIN], block[at.PART_STOP]
    n = stop - begin
    fill = float_rows(block, FILL, (channels, n))
    if block[at.PLAY] == _BRIDGE:
        bridged = block[at.BRIDGED]
        rows = array(block, BRIDGE_ROWS)
        for c in range(channels):
            copy(rows[c, bridged : bridged + n], fill[c])
        block[at.BRIDGED] += n
        block[at.AGE] += n
        block[at.BRIDGED_SAMPLES] += n
        trusted = True
    else:
        trusted = noise.fade(block, fill)
    silent = block[at.PLAY] == PLAYS_NOISE
    block[at.RUNG_SAMPLES + (block[at.NOISE_RUNG] if silent else block[at.RUNG])] += n
    block[at.SILENT_SAMPLES] += n if silent else 0
    block[at.CONCEALED_SAMPLES] += n
    block[at.LONGEST_BURST] = max(block[at.LONGEST_BURST], block[at.AGE])
    kept = block[at.KEPT] & queue.kept_at(block, block[at.SLOT], begin)
    received = queue.slot_rows(block, block[at.SLOT])
    if kept:
        if block[at.KEPT] < 0:
            neighbours.compare(block, kept)
        neighbours.guide(block, kept, received[:, begin:stop], fill)
    block[at.KEPT] = kept
    block[at.FILLS_LIMITED] += fill_limit.hold(block, block[at.PLAYED_AT], fill)
    playing = array(block, PLAYING)
    for c in range(channels):
        arrived = kept >> c & 1
        copy(received[c, begin:stop] if arrived else fill[c], playing[c, begin:stop])
    remember(block, int(trusted))
    return PLAYED


@kernel
def step_many(
    blocks: NDArray[np.int64],
    action: int,
    packets: int,
    stride: int,
    integer: bool,
    missing: NDArray[np.int64],
    count: int,
    out: int,
    first: int,
    stop: int,
) -> int:
    """Have each stream take in a packet and play one.

    Parameters
    ----------
    blocks : int64, shape (streams, words), read and written
        A row for each stream. The word TAKES says whether its packet arrived; FLAGS becomes what
        :func:`step` answered.
    action, integer, missing, count : as for that
    packets, out : int
        Addresses of row 0's packet, and of where what it plays goes; may be the same.
    stride : int
        Bytes from one row's packet to the next, in both.
    first, stop : int
        The first stream, and the one after the last.

    Returns
    -------
    int
        The answer of the last stream.
    """
    flags = 0
    for k in range(first, stop):
        block = blocks[k]
        at = k * stride
        takes = block[TAKES] != 0
        flags = step(block, action, packets + at, integer, takes, missing, count, out + at)
        block[FLAGS] = flags
    return flags
