"""A stream's network for music: its search, and a burst's drafts from passages of the past.

Played samples are listened to (:mod:`plc_kernels.signal.recall`): part by part, or where a thread
prepares bursts when it does so. The history reaches as far back as passages are searched. Where it
holds nothing but speech, and that has a network of its own, nothing is listened to.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, part
from plc_kernels.signal.history import newest
from plc_kernels.signal.passages import LAG_ROW, LINE_ROW, ROWS
from plc_kernels.signal.predict import rehearsed_samples
from plc_kernels.signal.recall import (
    COMPARED_MS,
    PASSAGES,
    PIECE,
    RecallSpace,
    Search,
    forget,
    join_passages,
    listen,
    recall,
    recall_sizes,
)
from plc_kernels.stream import extend
from plc_kernels.stream import layout as at
from plc_kernels.stream.arrays import Block, fixed
from plc_kernels.stream.gap import LINES, SAMPLES, START, array_of
from plc_kernels.stream.layout import RING, array, place, samples_of
from plc_kernels.stream.step import is_heard

_word, _array = at.RECALL_TABLE.word, at.RECALL_TABLE.array
# Sizes, as plc_kernels.signal.recall has them.
STRIDE = _word("Samples that become one of the search.")
REFINED = _word("Samples by which a lag is put right.")
MATCH = _word("Samples that passages are matched with.")
KNOWN = _word("Samples of SUMS before the gap.")
SEARCHED = _word("Lags that are searched.")
# Lengths that follow.
_N_ENDS = _word("Numbers of ENDS: CHANNELS + 2.")
_LOOKED = _word("Samples around a lag, where it is put right.")
_SUMMED = _word("KNOWN, and the samples of a row from the gap on.")
_REHEARSED = _word("Samples that prediction is tried on.")
_LATEST = _word("Samples whose innovations are compared, with the longest order before.")
_LINE = _word("Numbers of HEARD and POWERS: ROWS * LINE_ROW of `signal.passages`.")
_LAGS = _word("Numbers of CORRELATIONS: ROWS * LAG_ROW.")
THINNING = _array("State of thinning out what is heard.", np.float64, at.CHANNELS, fixed(4))
HEARD = _array("What was played, thinned out and flattened.", np.float32, at.CHANNELS, _LINE)
POWERS = _array("Running sum of its squares.", np.float32, at.CHANNELS, _LINE)
CORRELATIONS = _array("Running correlation at each lag.", np.float32, at.CHANNELS, _LAGS)
ENDS = _array("Next place in HEARD, by channel; then sample heard up to, EPOCH.", np.int64, _N_ENDS)
SEARCH = (THINNING, HEARD, POWERS, CORRELATIONS, ENDS)
"""Arrays of what was heard."""
THINNED = _array("Newly heard samples, thinned out.", np.float32, fixed(PIECE + 1))
WEIGHTS = _array("Scratch: the same, weighted.", np.float32, fixed(PIECE + 3 * ROWS))
EVERY = _array("Scratch: score of each lag.", np.float32, _LAGS)
NEWEST = _array("Scratch: the newest samples.", np.float32, REFINED)
AROUND = _array("Scratch: samples around a lag.", np.float32, _LOOKED)
TEMPLATE = _array("Scratch: what passages are matched with.", np.float32, MATCH)
MATCHED = _array("Scratch: the passages there.", np.float32, fixed(PASSAGES), MATCH)
NORMAL = _array("Scratch: normal equations.", np.float64, fixed(PASSAGES), fixed(PASSAGES))
SHARES = _array("Weight of each passage in the sum.", np.float64, fixed(PASSAGES))
FOUND = _array("Lag of each passage in samples.", np.int64, fixed(PASSAGES))
SCORES = _array("Likeness of each passage, 0 to 1.", np.float32, fixed(PASSAGES))
SUMS = _array("Sum of passages, and what followed them.", np.float32, at.CHANNELS, _SUMMED)
PEAKS = _array("Largest sample of any passage; -1: there is none.", np.float64, at.CHANNELS)
ERRORS = _array("Mean square error where prediction was tried.", np.float64, at.CHANNELS)
REHEARSED = _array("Scratch: prediction of the newest samples.", np.float32, _REHEARSED)
PLAYED = _array("Scratch: the newest samples played.", np.float32, _LATEST)
WORKED_IN = tuple(range(THINNED, at.RECALL_TABLE.next))
"""Arrays that drafts are made in."""
_ROWS = at.RECALL_TABLE.rows(range(THINNING, at.RECALL_TABLE.next))
# A part takes in three times its own length of what was not heard before.
_AT_ONCE = 4


@part
def measure(header: Block) -> int:
    """Write the sizes of the search; return the samples of history that it reads."""
    stride, past, lags, refined, match = recall_sizes(header[at.RATE])
    header[STRIDE] = stride
    header[SEARCHED] = lags
    header[REFINED] = refined
    header[MATCH] = match
    header[KNOWN] = max(match, header[at.MUSIC_NET + START])
    return past


@inlined
def operations(header: Block) -> int:
    """Return the multiply-adds of a search: of listening to a packet, and of weighing passages."""
    heard = header[SEARCHED] * (header[at.PACKET] // header[STRIDE] + 1)
    refined = PASSAGES * header[REFINED] * (2 * header[STRIDE] + 1)
    return int(heard + refined + PASSAGES * PASSAGES * header[MATCH] // 2)


@part
def add_places(header: Block) -> None:
    """Give the arrays of the search their places."""
    rate, ahead = header[at.RATE], header[at.MUSIC_NET + SAMPLES] - header[at.MUSIC_NET + START]
    header[_LINE] = ROWS * LINE_ROW
    header[_LAGS] = ROWS * LAG_ROW
    header[_N_ENDS] = header[at.CHANNELS] + 2
    header[_LOOKED] = header[REFINED] + 2 * header[STRIDE]
    header[_SUMMED] = header[KNOWN] + ahead
    header[_REHEARSED] = rehearsed_samples(rate)
    header[_LATEST] = header[at.MOST_ORDER] + samples_of(rate, COMPARED_MS)
    place(header, 0, _ROWS)


@inlined
def _search(block: Block, c: int) -> Search:
    return Search(
        array(block, THINNING)[c],
        array(block, HEARD)[c],
        array(block, POWERS)[c],
        array(block, CORRELATIONS)[c],
        array(block, ENDS)[c : c + 1],
    )


@inlined
def _space(block: Block) -> RecallSpace:
    return RecallSpace(
        array(block, THINNED),
        array(block, WEIGHTS),
        array(block, EVERY),
        array(block, NEWEST),
        array(block, AROUND),
        array(block, TEMPLATE),
        array(block, MATCHED),
        array(block, NORMAL),
        array(block, SHARES),
        array(block, FOUND),
        array(block, SCORES),
    )


@inlined
def _seen(block: Block) -> NDArray[np.int64]:
    """Return the sample up to which the stream was listened to, and its EPOCH, shape (2,)."""
    return array(block, ENDS)[block[at.CHANNELS] :]


@part
def hear(block: Block) -> None:
    """Take in the part that was played, and some earlier samples that were not heard."""
    part = block[at.PART_STOP] - block[at.PART_BEGIN]
    _take_in(block, block[at.PLAYED_AT] + part, _AT_ONCE * part)


@part
def catch_up(block: Block) -> None:
    """Take in the samples that were played but not heard yet, if they are of use.

    The stream's next sample is PLAYED_AT.
    """
    if is_heard(block):
        _take_in(block, block[at.PLAYED_AT], block[at.HISTORY_FILLED])


@part
def _take_in(block: Block, stop: int, most: int) -> None:
    """Take in ``most`` samples played before ``stop``, as far as the history has them."""
    seen = _seen(block)
    behind = stop - seen[0]
    if seen[1] != block[at.EPOCH] or behind > block[at.HISTORY_FILLED]:
        for c in range(block[at.CHANNELS]):
            forget(block[at.RATE], _search(block, c))
        behind = block[at.HISTORY_FILLED]
    left = max(behind - most, 0)
    seen[0] = stop - left
    seen[1] = block[at.EPOCH]
    ring = array(block, RING)
    longest = min(block[at.PACKET], block[_LATEST])
    while behind > left:
        # A piece ends with its packet, whenever it is taken in: a sum is as its terms are grouped.
        of_packet = block[at.PACKET] - (stop - behind) % block[at.PACKET]
        played = array(block, PLAYED)[: min(behind - left, longest, of_packet)]
        position = block[at.HISTORY_AT] - behind + played.size
        behind -= played.size
        for c in range(block[at.CHANNELS]):
            newest(ring[c], position if position >= 0 else position + block[at.PAST], played)
            listen(block[at.RATE], _space(block), _search(block, c), played)


@part
def write_drafts(block: Block, weight: float) -> None:
    """Write the past and both drafts; prediction goes on from the end of the last.

    Prediction has begun the stream's burst. ``weight`` is that of the passages, 0 to 1.
    """
    channels, start, known = block[at.CHANNELS], block[at.MUSIC_NET + START], block[KNOWN]
    seen = _seen(block)
    is_all_heard = seen[0] == block[at.PLAYED_AT] and seen[1] == block[at.EPOCH]
    lines = array_of(block, LINES, at.MUSIC_NET)
    ring = array(block, RING)
    sums = array(block, SUMS)
    peaks = array(block, PEAKS)
    for c in range(channels):
        newest(ring[c], block[at.HISTORY_AT], lines[2 * c + 1, :start])
        position, filled = block[at.HISTORY_AT], block[at.HISTORY_FILLED] if is_all_heard else 0
        search = _search(block, c)
        peaks[c] = recall(
            block[at.RATE], known, _space(block), search, ring[c], position, filled, sums[c]
        )
    p = extend.predictor_of(block)
    for c in range(channels):
        rows = lines[2 * c : 2 * c + 2]
        array(block, ERRORS)[c] = join_passages(
            p,
            c,
            array(block, REHEARSED),
            array(block, PLAYED),
            ring[c],
            block[at.HISTORY_AT],
            sums[c],
            known,
            peaks[c],
            weight,
            rows,
        )
