"""A burst made before it begins, in a second set of the arrays that a burst writes.

:func:`look` copies the state of the stream between two pushes, and :func:`prepare` makes of it the
burst that would follow if the next packets were lost: fit, drafts, the network's answer. Both write
only the second set. A burst that begins where the set was made for takes it over by swapping places
(:func:`~plc_kernels.stream.extend.take_prepared`), and plays the same samples as without::

    push | received      look ─ prepare ─ PREPARED_AT            push | lost
    ─────┴─ block ────────▶ second set ───────────────▶ swapped ───┴─▶ played

The second set is a block within the block: its words are a copy, its places lead to arrays of its
own or, where only the stream's can be in use, back to that. The caller sees to it that

* :func:`look` is not asked for the sample that the set was made for already;
* no push began before it had copied all, or else the copy is not used;
* PREPARED_AT of the block is written once :func:`prepare` has ended, before a push.

There are three ways::

    BETWEEN   nothing is pushed while a burst is prepared
    BESIDE    packets may be: look() copies arrays that a push writes, of music 8 s of history
    SHARING   they may be, and nothing large is copied: history and searches are read where
              they stand. A push meanwhile spoils the prepared burst, which nobody wants any more.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, kernel, part
from plc_kernels.build.denormals import flush_denormals, restore_denormals
from plc_kernels.signal.history import copy
from plc_kernels.stream import (
    background,
    bridge,
    extend,
    extend_music,
    extend_network,
    fill_limit,
    queue,
)
from plc_kernels.stream import layout as at
from plc_kernels.stream.arrays import Block, array_bytes, floats, words
from plc_kernels.stream.layout import PLAYING
from plc_kernels.stream.step import is_heard

# Mean power of silence: -60 dBFS. A loss in it is not heard.
_SILENT_POWER = 1e-6
# A stream counts as having lost one packet of so many before it had any.
_PRIOR_PACKETS = 100
_AWAKE_MS = 250.0
"""What is behind a louder packet is prepared for so long."""
BETWEEN, BESIDE, SHARING = 1, 2, 3
"""Whether packets may be pushed while a burst is prepared: the module says how."""
_COPIED = (at.RING, *extend_music.SEARCH)
"""Arrays that pushes write."""
_WORKED_IN = (
    *(at.FIT_FORWARD, at.FIT_BACKWARD, at.FIT_MIRROR, at.PREDICTOR, at.LINE, at.FIT_PAST),
    *(at.LEAD_IN, at.THROUGH),
)
"""Arrays that they work in."""


_PLACES = at.TABLE.rows(range(at.HEADER))
_COPIED_PLACES = at.TABLE.rows(_COPIED)
_FITTED_PLACES = at.TABLE.rows(extend.SWAPPED[:5])
_ROWS = at.TABLE.rows((at.DRAFT, at.LEFT))
_STATE = np.array(
    [
        k
        for k in range(at.HEADER)
        if k not in at.TABLE.arrays and k not in (at.PREPARED_AT, at.REALS_AT)
    ],
    np.int16,
)
"""Words that a copy of the stream's state takes over."""


@part
def _has_second(block: Block, word: int, how: int) -> bool:
    if not block[word]:
        return False
    if word in extend.SWAPPED or (block[at.NETWORK] and word in extend_network.SWAPPED):
        return True
    if how == BETWEEN:
        return False
    if word in _COPIED:
        return how == BESIDE
    return bool(word in _WORKED_IN or (block[at.NETWORK] and word in extend_network.WORKED_IN))


@part
def _lay_out_second(block: Block, how: int, second: Block) -> int:
    """Write the places of the second set, unless that is empty; return where they end."""
    end = block[at.SECOND] + 8 * at.HEADER
    for k in range(_PLACES.shape[0]):
        word = _PLACES[k, 0]
        if _has_second(block, word, how):
            if second.size:
                second[word] = end - block[at.SECOND]
            end += array_bytes(block, 0, _PLACES[k])
    return int(end)


@kernel
def add_second(header: Block, how: int) -> int:
    """Make room for a second set behind all else; return the size of the block.

    ``header``, int64, shape (HEADER,), is of a stream that is laid out, whose prediction is the
    step's own, without lookahead; ``how`` is BETWEEN, BESIDE or SHARING.
    """
    at.place(header, 0, _ROWS)
    header[at.SECOND] = header[at.SIZE]
    header[at.SIZE] = _lay_out_second(header, how, header[:0])
    return int(header[at.SIZE])


@kernel
def open_second(block: Block, how: int) -> None:
    """Write the places of the second set, in a block that is a stream otherwise."""
    second = at.second_set(block)
    copy(block, second)
    for k in range(_PLACES.shape[0]):
        second[_PLACES[k, 0]] -= block[at.SECOND]
    _lay_out_second(block, how, second)
    second[at.PREPARED_AT] = block[at.PREPARED_AT] = -1


@kernel
def look(block: Block, begins: int) -> int:
    """Copy the state of a stream; return 1 if a burst would begin with the next packet, else 0.

    It has a second set, which is written; the next packet ``begins`` with sample POSITION + PACKET.
    """
    second = at.second_set(block)
    second[at.PREPARED_AT] = -1
    if block[at.IN_BURST] and not block[at.RECOVERED]:
        return 0
    for word in _STATE:
        second[word] = block[word]
    second[at.PLAYED_AT] = begins
    second[at.SLOT] = queue.slot_at(block, 1)
    at.reals(second)[at.BURST_MS] = at.reals(block)[at.PREPARE_MS]
    gap, known = (0, 0) if block[at.OUTSIDE] else bridge.known_behind(second, 0)
    second[at.GAP] = second[at.BRIDGE] = gap
    second[at.KNOWN] = known
    second[at.LANDED] = second[at.FADING] = 0
    fill_limit.follow_share(second, False, block[at.PACKET])
    extend.gather(second)
    # In speech that lasts nothing is searched: the ring alone, the first of them, is copied.
    _copy(block, second, _COPIED_PLACES if is_heard(block) else _COPIED_PLACES[:1])
    if block[at.REFIT]:
        _copy(block, second, _FITTED_PLACES)
    return 1


@part
def _copy(block: Block, second: Block, rows: NDArray[np.int16]) -> None:
    for k in range(rows.shape[0]):
        word = rows[k, 0]
        if block[word] and second[word] + block[at.SECOND] != block[word]:
            n = array_bytes(block, 0, rows[k]) // 8
            copy(words(block, word, n), words(second, word, n))


@part
def prepare(block: Block, model: int) -> int:
    """Make the burst that :func:`look` saw begin; return the sample that it begins with.

    The stream's second set is read and written. ``model`` is the address of its networks' blocks,
    not read where it has none.
    """
    before = flush_denormals()
    second = at.second_set(block)
    numbers = at.reals(second)
    numbers[at.BURST_MS] = numbers[at.LIMIT_MS] = numbers[at.PREPARE_MS]
    second[at.DEPTH] = 0
    extend.begin(second)
    if second[at.NETWORK]:
        if extend_network.prepare_burst(second, model):
            extend.draft_packet(second)
    elif second[at.GAP]:
        bridge.predict(second)
    else:
        extend.draft_packet(second)
    restore_denormals(before)
    second[at.PREPARED_AT] = second[at.PLAYED_AT]
    return int(second[at.PREPARED_AT])


@part
def hear(block: Block) -> None:
    """Make the samples of a prepared burst from the answer of a network outside the step.

    The answer lies in the second set, as FILLED of the network SERVED; there is none if GIVEN is 0.
    """
    before = flush_denormals()
    extend_network.hear_prepared(at.second_set(block))
    restore_denormals(before)


@kernel
def ask(block: Block) -> int:
    """Look, unless no loss would be heard; return the sample that the burst would begin with.

    -1 where there is nothing to prepare: in silence that has lasted, and during a burst.
    """
    begins = block[at.POSITION] + block[at.PACKET]
    if not _is_silent(block):
        block[at.AWAKE_UNTIL] = begins + at.samples_of(block[at.RATE], _AWAKE_MS)
    return int(begins) if begins <= block[at.AWAKE_UNTIL] and look(block, begins) else -1


@kernel
def expect_losses(blocks: NDArray[np.int64], expected: NDArray[np.float64]) -> None:
    """Estimate how likely each stream's next packet begins a burst that its network conceals.

    ``blocks``, int64, shape (streams, words), are of streams with a network and a second set.
    ``expected``, float64, shape (streams,), becomes 0 where there would be no such burst: during
    one, in music and in silence; and where it is ready. Else the bursts for each packet received,
    which is the Gilbert model's way into a burst, and the share of the last half second that was
    lost, as the Gilbert-Elliott model's bad state lasts.
    """
    for k in range(blocks.shape[0]):
        block = blocks[k]
        expected[k] = 0.0
        done = block[at.PREPARED_AT] == block[at.POSITION] + block[at.PACKET]
        goes_on = block[at.IN_BURST] and not block[at.RECOVERED]
        if done or goes_on or not background.is_speech(block) or _is_silent(block):
            continue
        expected[k] = expected_losses(block)


@kernel
def expected_losses(block: Block) -> float:
    """Return how likely the next packet begins a burst, as :func:`expect_losses` has it."""
    received = block[at.PACKETS] - block[at.LOST_PACKETS]
    begins = (block[at.EVENTS] + 1.0) / (received + _PRIOR_PACKETS)
    return float(begins + 1.0 - at.reals(block)[at.RECEIVED_SHARE])


@inlined
def _is_silent(block: Block) -> bool:
    played = floats(block, PLAYING, block[at.CHANNELS] * block[at.PACKET])
    energy = np.float32(0.0)
    for i in range(played.size):
        energy += played[i] * played[i]
    return bool(energy < _SILENT_POWER * played.size)
