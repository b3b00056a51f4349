"""A stream's network for music: what it hears, and a burst's drafts from passages of the past.

All that is played is listened to (:mod:`plc_kernels.recall`): part by part, or where a thread
prepares bursts when it does so. The history reaches as far back as passages are searched.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.compile import inlined, part
from plc_kernels.history import newest
from plc_kernels.passages import LAG_ROW, LINE_ROW, ROWS
from plc_kernels.recall import (
    COMPARED_MS,
    PASSAGES,
    PIECE,
    REHEARSED_MS,
    RecallSpace,
    Search,
    forget,
    join,
    listen,
    recall,
    recall_sizes,
    rehearse,
    trust,
)
from plc_kernels.stream import prediction
from plc_kernels.stream.gap import SAMPLES, START, gap_lines
from plc_kernels.stream.layout import (
    CHANNELS,
    CHUNK,
    EPOCH,
    FROM_ONSETS,
    HISTORY_AT,
    HISTORY_FILLED,
    LIMITS,
    MOST_ORDER,
    MUSIC_NET,
    ORDERS,
    PACKET,
    PART_BEGIN,
    PART_STOP,
    PAST,
    PLAYED_AT,
    PLAYING,
    RATE,
    RECALL_WORDS,
    RECENT,
    RING,
    TAPS,
    Block,
    double_rows,
    doubles,
    float_rows,
    floats,
    place,
    samples_of,
    words,
)
from plc_kernels.stream.layout import LINE as PREDICTED

_LINE, _LAGS = ROWS * LINE_ROW, ROWS * LAG_ROW

# Sizes, as plc_kernels.recall has them; samples of the sum before the gap; and lags.
STRIDE, REFINED, MATCH, KNOWN, SEARCHED = range(RECALL_WORDS, RECALL_WORDS + 5)
# Where arrays lie. The last of ENDS are the sample of the stream up to which it was listened to,
# and that stream's EPOCH.
(
    THINNING,
    HEARD,
    POWERS,
    CORRELATIONS,
    ENDS,
    THINNED,
    WEIGHTS,
    EVERY,
    NEWEST,
    AROUND,
    TEMPLATE,
    MATCHED,
    NORMAL,
    SHARES,
    FOUND,
    SCORES,
    SUMS,
    PEAKS,
    ERRORS,
    BEFORE,
    REHEARSED,
    PLAYED,
) = range(RECALL_WORDS + 5, RECALL_WORDS + 27)
SEARCH = (THINNING, HEARD, POWERS, CORRELATIONS, ENDS)
"""Arrays of what was heard."""
WORKED_IN = tuple(range(THINNED, PLAYED + 1))
"""Those that drafts are made in."""


@part
def measure(header: Block) -> int:
    """Write what the search takes; return the samples of history that it reads."""
    stride, past, lags, refined, match = recall_sizes(header[RATE])
    header[STRIDE] = stride
    header[SEARCHED] = lags
    header[REFINED] = refined
    header[MATCH] = match
    header[KNOWN] = max(match, header[MUSIC_NET + START])
    return past


@inlined
def operations(header: Block) -> int:
    """Return the multiply-adds of a search: what it listens to, and what it then weighs."""
    heard = header[SEARCHED] * (header[PACKET] // header[STRIDE] + 1)
    refined = PASSAGES * header[REFINED] * (2 * header[STRIDE] + 1)
    return int(heard + refined + PASSAGES * PASSAGES * header[MATCH] // 2)


@part
def add_places(header: Block) -> None:
    """Give the arrays of the search their places."""
    channels, most = header[CHANNELS], header[MOST_ORDER]
    ahead = header[MUSIC_NET + SAMPLES] - header[MUSIC_NET + START]
    rehearsed = samples_of(header[RATE], REHEARSED_MS)
    place(header, THINNING, 8 * 4 * channels)
    place(header, HEARD, 4 * _LINE * channels)
    place(header, POWERS, 4 * _LINE * channels)
    place(header, CORRELATIONS, 4 * _LAGS * channels)
    place(header, ENDS, 8 * (channels + 2))
    place(header, THINNED, 4 * (PIECE + 1))
    place(header, WEIGHTS, 4 * (PIECE + 3 * ROWS))
    place(header, EVERY, 4 * _LAGS)
    place(header, NEWEST, 4 * header[REFINED])
    place(header, AROUND, 4 * (header[REFINED] + 2 * header[STRIDE]))
    place(header, TEMPLATE, 4 * header[MATCH])
    place(header, MATCHED, 4 * PASSAGES * header[MATCH])
    place(header, NORMAL, 8 * PASSAGES * PASSAGES)
    place(header, SHARES, 8 * PASSAGES)
    place(header, FOUND, 8 * PASSAGES)
    place(header, SCORES, 4 * PASSAGES)
    place(header, SUMS, 4 * channels * (header[KNOWN] + ahead))
    place(header, PEAKS, 8 * channels)
    place(header, ERRORS, 8 * channels)
    place(header, BEFORE, 8 * most)
    place(header, REHEARSED, 4 * rehearsed)
    place(header, PLAYED, 4 * (most + samples_of(header[RATE], COMPARED_MS)))


@inlined
def _search(block: Block, c: int) -> Search:
    channels = block[CHANNELS]
    return Search(
        double_rows(block, THINNING, (channels, 4))[c],
        float_rows(block, HEARD, (channels, _LINE))[c],
        float_rows(block, POWERS, (channels, _LINE))[c],
        float_rows(block, CORRELATIONS, (channels, _LAGS))[c],
        words(block, ENDS, channels)[c : c + 1],
    )


@inlined
def _space(block: Block) -> RecallSpace:
    match = block[MATCH]
    return RecallSpace(
        floats(block, THINNED, PIECE + 1),
        floats(block, WEIGHTS, PIECE + 3 * ROWS),
        floats(block, EVERY, _LAGS),
        floats(block, NEWEST, block[REFINED]),
        floats(block, AROUND, block[REFINED] + 2 * block[STRIDE]),
        floats(block, TEMPLATE, match),
        float_rows(block, MATCHED, (PASSAGES, match)),
        double_rows(block, NORMAL, (PASSAGES, PASSAGES)),
        doubles(block, SHARES, PASSAGES),
        words(block, FOUND, PASSAGES),
        floats(block, SCORES, PASSAGES),
    )


@inlined
def _seen(block: Block) -> NDArray[np.int64]:
    """Return the sample up to which the stream was listened to, and its EPOCH, shape (2,)."""
    ends: NDArray[np.int64] = words(block, ENDS, block[CHANNELS] + 2)
    return ends[block[CHANNELS] :]


@part
def _begin_anew(block: Block) -> bool:
    """Forget what was heard of the stream before this one; return whether there was such a one."""
    seen = _seen(block)
    if seen[1] == block[EPOCH]:
        return False
    seen[1] = block[EPOCH]
    for c in range(block[CHANNELS]):
        forget(block[RATE], _search(block, c))
    return True


@part
def hear(block: Block) -> None:
    """Take in the part that was played."""
    _begin_anew(block)
    channels, begin, stop = block[CHANNELS], block[PART_BEGIN], block[PART_STOP]
    rows = float_rows(block, PLAYING, (channels, block[PACKET]))
    for c in range(channels):
        listen(block[RATE], _space(block), _search(block, c), rows[c, begin:stop])


@part
def catch_up(block: Block) -> None:
    """Take in what was played since the last call, as far as the history has it.

    Parameters
    ----------
    block
        Of the stream, whose next sample is PLAYED_AT.
    """
    channels = block[CHANNELS]
    seen = _seen(block)
    behind = block[PLAYED_AT] - seen[0]
    if behind > block[HISTORY_FILLED]:
        seen[1] = -1
    if _begin_anew(block):
        behind = block[HISTORY_FILLED]
    seen[0] = block[PLAYED_AT]
    ring = float_rows(block, RING, (channels, block[PAST]))
    most = min(block[PACKET], block[MOST_ORDER] + samples_of(block[RATE], COMPARED_MS))
    while behind > 0:
        played = floats(block, PLAYED, min(behind, most))
        behind -= played.size
        position = block[HISTORY_AT] - behind
        for c in range(channels):
            newest(ring[c], position if position >= 0 else position + block[PAST], played)
            listen(block[RATE], _space(block), _search(block, c), played)


@inlined
def _newest(block: Block, c: int, n: int) -> NDArray[np.float32]:
    """Return a channel's newest samples, shape (n,)."""
    count = block[MOST_ORDER] + samples_of(block[RATE], COMPARED_MS)
    played: NDArray[np.float32] = floats(block, PLAYED, count)[:n]
    newest(float_rows(block, RING, (block[CHANNELS], block[PAST]))[c], block[HISTORY_AT], played)
    return played


@inlined
def errors(block: Block) -> NDArray[np.float64]:
    """Return the mean square error of each channel's prediction, as it was rehearsed."""
    row: NDArray[np.float64] = doubles(block, ERRORS, block[CHANNELS])
    return row


@part
def write_drafts(block: Block, weight: float) -> None:
    """Write the past and both drafts; prediction goes on from the end of the last.

    Parameters
    ----------
    block
        Of the stream, which prediction has begun a burst of.
    weight : float
        Of the passages, 0 to 1.
    """
    _begin_anew(block)
    channels, start, known = block[CHANNELS], block[MUSIC_NET + START], block[KNOWN]
    lines = gap_lines(block, MUSIC_NET)
    ahead = lines.shape[1] - start
    ring = float_rows(block, RING, (channels, block[PAST]))
    sums = float_rows(block, SUMS, (channels, known + ahead))
    peaks = doubles(block, PEAKS, channels)
    for c in range(channels):
        newest(ring[c], block[HISTORY_AT], lines[2 * c + 1, :start])
        peaks[c] = recall(
            block[RATE],
            known,
            _space(block),
            _search(block, c),
            ring[c],
            block[HISTORY_AT],
            block[HISTORY_FILLED],
            sums[c],
        )
    for c in range(channels):
        _join(block, c, weight, lines[2 * c : 2 * c + 2, :])


@part
def _join(block: Block, c: int, weight: float, rows: NDArray[np.float32]) -> None:
    """Write the drafts of a channel."""
    channels, most, known = block[CHANNELS], block[MOST_ORDER], block[KNOWN]
    start = block[MUSIC_NET + START]
    order = words(block, ORDERS, channels)[c]
    taps = double_rows(block, TAPS, (channels, most))[c, :order]
    limits = doubles(block, LIMITS, channels)
    line = doubles(block, PREDICTED, most + CHUNK)[: order + CHUNK]
    made = floats(block, REHEARSED, samples_of(block[RATE], REHEARSED_MS))
    errors(block)[c] = rehearse(
        block[RATE] if block[FROM_ONSETS] else 0,
        taps,
        limits[c],
        _newest(block, c, order + samples_of(block[RATE], COMPARED_MS)),
        doubles(block, BEFORE, most)[:order],
        line,
        made,
    )
    peak = doubles(block, PEAKS, channels)[c]
    if peak < 0.0:
        prediction.extend_channel(block, c, rows[1, start:])
        for i in range(rows.shape[1]):
            rows[0, i] = rows[1, i]
        return
    beside = float_rows(block, SUMS, (channels, known + rows.shape[1] - start))[c]
    trusted = trust(
        errors(block)[c], beside[known - made.size : known], _newest(block, c, made.size)
    )
    limits[c] = join(
        taps,
        limits[c],
        double_rows(block, RECENT, (channels, most))[c, :order],
        _newest(block, c, min(order + samples_of(block[RATE], COMPARED_MS), known)),
        beside,
        peak,
        trusted * weight,
        line,
        rows[1, start:],
    )
    for i in range(rows.shape[1]):
        rows[0, i] = beside[known - start + i]
