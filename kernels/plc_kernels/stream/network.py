"""A stream's network: a burst's drafts, its fill, and what of it is played.

The step asks for a fill where a stream has a network (:mod:`~plc_kernels.stream.step`), and
:func:`fill_part` is the answer. The model is a block in memory (:mod:`~plc_kernels.stream.model`),
which many streams may read; all that is written lies in the stream's block.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.burst import (
    LEAVE_MS,
    ONSET_MS,
    begin_fill,
    play_fill,
    take_over,
)
from plc_kernels.compile import inlined, kernel, part
from plc_kernels.contour import (
    FEATURES,
    POINTS,
    ContourModel,
    ContourSpace,
    contour_sizes,
    draft,
    follow,
)
from plc_kernels.denormals import flush_denormals, restore_denormals
from plc_kernels.fade import write_ramp
from plc_kernels.history import newest
from plc_kernels.network.frames import run_frames
from plc_kernels.network.plan import COUNT
from plc_kernels.spectra.fft import MOST_FACTORS, twiddle_count
from plc_kernels.spectra.gap import (
    EDGE_MS,
    INSIDE,
    OVERLAP,
    Grid,
    analyse_rows,
    mark_gap,
    open_grid,
    synthesise_gap,
)
from plc_kernels.stream import model as of
from plc_kernels.stream import prediction
from plc_kernels.stream.layout import (
    AFTER,
    BRIDGE,
    CHANNELS,
    FILL,
    FILL_SAMPLES,
    HISTORY_AT,
    HISTORY_FILLED,
    KNOWN,
    LADDER,
    LANDED,
    MOST_ORDER,
    MUSIC_RATE,
    NETWORK,
    NETWORK_PAST,
    NETWORK_RUNG,
    NETWORK_WORDS,
    ORDERS,
    PACKET,
    PAST,
    RATE,
    REACH,
    RECENT,
    RING,
    RUNG,
    SPEECH,
    STEP,
    TAKEN,
    Block,
    complexes,
    double_rows,
    doubles,
    float_blocks,
    float_rows,
    floats,
    lay_out,
    place,
    samples_of,
    second_set,
    swap_places,
    words,
)
from plc_kernels.stream.layout import (
    SIZE as LAID_OUT,
)
from plc_kernels.stream.step import BEGAN, GOES_ON, WANTS_BRIDGE, WANTS_FILL

# Sizes that follow from the model and the rate.
(
    DRAFTS,
    BINS,
    FRAMES,
    CONTEXT,
    SIZE,
    START,
    SAMPLES,
    HORIZON,
    PREDICTED,
    LOOKED,
    AROUND,
    WIDTH,
    PASSES,
    ENTER,
    LEAVE,
    PROMPT,
) = range(NETWORK_WORDS, NETWORK_WORDS + 16)
"""Rows of a channel; bins, frames, and those of context; samples of a frame; the gap's first sample
in a row, a row's samples, and those that the network fills; of the contour, as
:func:`~plc_kernels.contour.contour_sizes` has them; width of its layers; passes of the transform;
samples of the crossfades; and whether a burst's first packet waits for the network."""
# Where arrays lie.
(
    LINES,
    SPECTRA,
    FILLED,
    LOST,
    WORK,
    WINDOW,
    DUAL,
    FACTORS,
    TWIDDLES,
    SCRATCH,
    FRAME,
    SPECTRUM,
    GAP_RAMP,
    LINE,
    MADE,
    FILLS,
    ENTER_RAMP,
    LEAVE_RAMP,
    VOICES,
    POINTS_AT,
    PERIODS,
    LAGS,
    SEEN,
    SCORE,
    AROUND_AT,
    FEATURES_AT,
    LAYERS,
) = range(NETWORK_WORDS + 16, NETWORK_WORDS + 43)
# State of a burst.
SERVES, POSITION, PENDING, IMPROVED, ANSWERED = range(NETWORK_WORDS + 43, NETWORK_WORDS + 48)
"""Whether the network serves it; samples of it that were played; whether the network's answer is
still to be taken; whether it is in the fill; and whether it is in MADE."""

PLACES = LINES, LAYERS + 1
"""First of the words of places, and the one after the last."""
SWAPPED = (LINES, FILLS, MADE)
"""Arrays of a burst, which a prepared one brings along."""
NO, SOUND, NO_SOUND = range(3)
"""Of ANSWERED."""

# A file may come from anywhere: no network of a stream sees more.
_MOST_S = 4

_PROMPT_PACKET_MS = 20.0
"""From MUSIC_RATE on the first packet waits for the network only if it is as long as that."""


@inlined
def _word(model: int, word: int) -> int:
    """Return a word of a model at an address."""
    return int(words(model, 0, of.WORDS)[word])


@inlined
def _real(model: int, word: int) -> float:
    """Return a word of a model that is a float64."""
    return float(doubles(model, 0, of.WORDS)[word])


@part
def measure(model: int, header: Block) -> bool:
    """Write what a network takes; return whether it is for the stream's rate.

    Parameters
    ----------
    model : int
        Address of its block, which is sound (:mod:`~plc_kernels.stream.model_file`).
    header : int64, shape (HEADER,), read and written
        With the settings.
    """
    rate = header[RATE]
    if _word(model, of.MAGIC_AT) != of.MAGIC:
        return False
    if rate < _word(model, of.LOWEST_RATE) or rate > _word(model, of.HIGHEST_RATE):
        return False
    size = 4 * int(np.rint(rate / (4.0 * _real(model, of.BIN_HZ))))
    hop = size // OVERLAP
    header[DRAFTS] = _word(model, of.DRAFTS)
    header[BINS] = _word(model, of.BINS)
    header[FRAMES] = _word(model, of.FRAMES)
    header[CONTEXT] = _word(model, of.CONTEXT)
    header[SIZE] = size
    header[START] = (header[CONTEXT] + INSIDE) * hop
    header[SAMPLES] = (header[FRAMES] - 1) * hop + size
    header[HORIZON] = samples_of(rate, _real(model, of.HORIZON_MS))
    known, predicted, looked, around = contour_sizes(rate, header[SAMPLES] - header[START])
    header[PREDICTED] = predicted
    header[LOOKED] = looked
    header[AROUND] = around
    wide, narrow = _word(model, of.CONTOUR_WIDE), _word(model, of.CONTOUR_NARROW)
    header[WIDTH] = max(FEATURES, max(wide, narrow))
    header[ENTER] = samples_of(rate, EDGE_MS)
    header[LEAVE] = samples_of(rate, LEAVE_MS)
    short = header[PACKET] < rate * _PROMPT_PACKET_MS / 1000.0
    header[PROMPT] = not (rate >= MUSIC_RATE and short)
    if header[BINS] > size // 2 + 1 or header[SAMPLES] > _MOST_S * rate:
        return False
    if header[HORIZON] < 1 or header[START] + header[HORIZON] > header[SAMPLES]:
        return False
    header[NETWORK] = 1
    header[NETWORK_PAST] = max(header[START], known)
    return True


@inlined
def operations(model: int) -> int:
    """Return the multiply-adds of a run."""
    return _word(model, of.OPERATIONS)


@inlined
def predicted(header: Block) -> int:
    """Return the samples that prediction drafts for a burst."""
    return int(header[PREDICTED])


@part
def add_places(model: int, header: Block) -> None:
    """Give the arrays of a network their places, behind those of the stream."""
    channels, size, horizon = header[CHANNELS], header[SIZE], header[HORIZON]
    rows = channels * header[DRAFTS]
    spectrum = 2 * header[BINS]
    touching = header[FRAMES] - header[CONTEXT]
    place(header, LINES, 4 * rows * header[SAMPLES])
    place(header, SPECTRA, 4 * rows * spectrum * header[FRAMES])
    place(header, FILLED, 4 * channels * spectrum * touching)
    place(header, LOST, 4 * channels * header[FRAMES])
    place(header, WORK, 4 * _word(model, of.WORK))
    place(header, WINDOW, 4 * size)
    place(header, DUAL, 4 * size)
    place(header, FACTORS, 8 * MOST_FACTORS)
    place(header, TWIDDLES, 4 * 2 * twiddle_count(size))
    place(header, SCRATCH, 4 * 4 * (size // 2))
    place(header, FRAME, 4 * size)
    place(header, SPECTRUM, 8 * (size // 2 + 1))
    place(header, GAP_RAMP, 4 * horizon)
    place(header, LINE, 4 * horizon)
    place(header, MADE, 4 * channels * horizon)
    place(header, FILLS, 4 * channels * horizon)
    place(header, ENTER_RAMP, 4 * header[ENTER])
    place(header, LEAVE_RAMP, 4 * header[LEAVE])
    place(header, VOICES, 4 * channels * (_known(header) + header[PREDICTED]))
    place(header, POINTS_AT, 4 * channels * POINTS)
    place(header, PERIODS, 8 * channels)
    place(header, LAGS, 8 * channels)
    place(header, SEEN, 4 * header[LOOKED])
    place(header, SCORE, 4 * header[LOOKED])
    place(header, AROUND_AT, 4 * 2 * header[AROUND])
    place(header, FEATURES_AT, 4 * FEATURES)
    place(header, LAYERS, 4 * 2 * header[WIDTH])


@inlined
def _known(block: Block) -> int:
    """Return the samples of the past that a contour is expected from."""
    return int(contour_sizes(block[RATE], 0)[0])


@kernel
def lay_out_network(model: int, header: Block) -> int:
    """Lay out a stream with a network; return the size of its block, 0 if the rate is another's.

    Parameters
    ----------
    model : int
        Address of a flat file.
    header : int64, shape (HEADER,), read and written
        As :func:`~plc_kernels.stream.layout.lay_out` takes it, with NETWORK_RUNG.
    """
    if not measure(model, header):
        return 0
    lay_out(header)
    add_places(model, header)
    return int(header[LAID_OUT])


@kernel
def open_network(block: Block) -> None:
    """Write the tables of a stream's network."""
    size = block[SIZE]
    block[PASSES] = open_grid(
        floats(block, WINDOW, size),
        floats(block, DUAL, size),
        words(block, FACTORS, MOST_FACTORS),
        float_rows(block, TWIDDLES, (2, twiddle_count(size))),
    )
    mark_gap(
        size,
        block[START],
        block[HORIZON],
        EDGE_MS * block[RATE] / 1000.0,
        False,
        float_rows(block, LOST, (block[CHANNELS], block[FRAMES])),
        floats(block, GAP_RAMP, block[HORIZON]),
    )
    write_ramp(floats(block, ENTER_RAMP, block[ENTER]))
    write_ramp(floats(block, LEAVE_RAMP, block[LEAVE]))


@inlined
def _grid(block: Block) -> Grid:
    size = block[SIZE]
    return Grid(
        floats(block, WINDOW, size),
        floats(block, DUAL, size),
        words(block, FACTORS, block[PASSES]),
        float_rows(block, TWIDDLES, (2, twiddle_count(size))),
        float_rows(block, SCRATCH, (4, size // 2)),
        floats(block, FRAME, size),
        complexes(block, SPECTRUM, size // 2 + 1),
    )


@inlined
def _space(block: Block) -> ContourSpace:
    return ContourSpace(
        floats(block, SEEN, block[LOOKED]),
        floats(block, SCORE, block[LOOKED]),
        floats(block, AROUND_AT, 2 * block[AROUND]),
        floats(block, FEATURES_AT, FEATURES),
        float_rows(block, LAYERS, (2, block[WIDTH])),
    )


@inlined
def _contour(model: int) -> ContourModel:
    """Return a model's network that expects a contour."""
    wide, narrow = _word(model, of.CONTOUR_WIDE), _word(model, of.CONTOUR_NARROW)
    at = of.CONTOUR_AT
    return ContourModel(
        floats(model + _word(model, at), 0, FEATURES),
        floats(model + _word(model, at + 1), 0, FEATURES),
        float_rows(model + _word(model, at + 2), 0, (wide, FEATURES)),
        floats(model + _word(model, at + 3), 0, wide),
        float_rows(model + _word(model, at + 4), 0, (narrow, wide)),
        floats(model + _word(model, at + 5), 0, narrow),
        float_rows(model + _word(model, at + 6), 0, (POINTS, narrow)),
        floats(model + _word(model, at + 7), 0, POINTS),
    )


@inlined
def _lines(block: Block) -> NDArray[np.float32]:
    """Return the drafts, shape (channels * drafts, samples)."""
    rows: NDArray[np.float32] = float_rows(
        block, LINES, (block[CHANNELS] * block[DRAFTS], block[SAMPLES])
    )
    return rows


@inlined
def _fills(block: Block) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = float_rows(block, FILLS, (block[CHANNELS], block[HORIZON]))
    return rows


@part
def _begin(block: Block, model: int) -> None:
    """Draft a burst that prediction has begun, and have the network improve on the draft."""
    block[POSITION] = 0
    block[PENDING] = 0
    block[IMPROVED] = 0
    block[ANSWERED] = NO
    block[SERVES] = block[SPEECH] != 0 and block[HISTORY_FILLED] >= block[START]
    if not block[SERVES]:
        return
    _draft(block, model)
    begin_fill(_lines(block), block[START], block[HORIZON], _fills(block))
    block[PENDING] = 1
    if block[PROMPT]:
        _improve(block, model)


@part
def try_out(block: Block, model: int) -> None:
    """Do what a burst's first packet takes, whatever was played, so that a caller may time it."""
    block[SPEECH] = 1
    _begin(block, model)
    if block[PENDING]:
        _improve(block, model)


@part
def _draft(block: Block, model: int) -> None:
    """Write the past and both drafts; prediction goes on from the end of the last."""
    channels, start, rate = block[CHANNELS], block[START], block[RATE]
    lines, space = _lines(block), _space(block)
    ring = float_rows(block, RING, (channels, block[PAST]))
    known = _known(block)
    voices = float_rows(block, VOICES, (channels, known + block[PREDICTED]))
    points = float_rows(block, POINTS_AT, (channels, POINTS))
    periods, lags = doubles(block, PERIODS, channels), words(block, LAGS, channels)
    for c in range(channels):
        past = lines[2 * c + 1, :start]
        newest(ring[c], block[HISTORY_AT], past)
        lines[2 * c, :start] = past
    follow(rate, _contour(model), space, ring, block[HISTORY_AT], voices, points, periods, lags)
    for c in range(channels):
        prediction.extend_channel(block, c, voices[c, known:])
    draft(rate, space, voices, points, periods, lags, start, lines)
    orders = words(block, ORDERS, channels)
    end = known + block[SAMPLES] - start
    for c in range(channels):
        recent = double_rows(block, RECENT, (channels, block[MOST_ORDER]))[c]
        for k in range(orders[c]):
            recent[k] = voices[c, end - orders[c] + k]


@inlined
def _take_prepared(block: Block) -> None:
    """Begin a burst as it was prepared."""
    second = second_set(block)
    for word in SWAPPED:
        swap_places(block, word)
    for word in range(SERVES, ANSWERED + 1):
        block[word] = second[word]


@part
def prepare_burst(block: Block, model: int) -> None:
    """Do all of a burst that prediction has begun, up to the network's answer."""
    _begin(block, model)
    if block[PENDING]:
        _answer(block, model)


@part
def _answer(block: Block, model: int) -> None:
    """Run the network; write what it makes of the draft to MADE."""
    channels, horizon = block[CHANNELS], block[HORIZON]
    rows, bins, frames = channels * block[DRAFTS], block[BINS], block[FRAMES]
    touching = frames - block[CONTEXT]
    block[ANSWERED] = NO_SOUND
    grid, lines = _grid(block), _lines(block)
    analyse_rows(grid, lines, float_blocks(block, SPECTRA, (rows, 2, bins, frames)))
    answer = floats(block, FILLED, channels * 2 * bins * touching)
    run_frames(
        words(model + _word(model, of.PLAN_AT), 0, COUNT),
        floats(model + _word(model, of.WEIGHTS_AT), 0, _word(model, of.N_WEIGHTS)),
        floats(block, SPECTRA, rows * 2 * bins * frames),
        floats(block, LOST, channels * frames),
        floats(block, WORK, _word(model, of.WORK)),
        answer,
    )
    for i in range(answer.size):
        if not np.isfinite(answer[i]):
            return
    synthesise_gap(
        grid,
        lines,
        block[CONTEXT],
        float_blocks(block, FILLED, (channels, 2, bins, touching)),
        horizon,
        floats(block, GAP_RAMP, horizon),
        floats(block, LINE, horizon),
        float_rows(block, MADE, (channels, horizon)),
    )
    block[ANSWERED] = SOUND


@part
def _improve(block: Block, model: int) -> None:
    """Crossfade from the draft to the network's answer, unless that is no sound."""
    block[PENDING] = 0
    if block[ANSWERED] == NO:
        _answer(block, model)
    if block[ANSWERED] == NO_SOUND:
        return
    take_over(
        _lines(block),
        block[START],
        block[POSITION],
        floats(block, ENTER_RAMP, block[ENTER]),
        floats(block, LEAVE_RAMP, block[LEAVE]),
        float_rows(block, MADE, (block[CHANNELS], block[HORIZON])),
        _fills(block),
    )
    block[IMPROVED] = 1


@inlined
def _go_on(block: Block, model: int) -> None:
    """Take the answer of a network that the burst's first packet did not wait for."""
    if block[SERVES] and block[PENDING] and block[POSITION] >= samples_of(block[RATE], ONSET_MS):
        if block[POSITION] >= block[HORIZON]:
            block[PENDING] = 0
        else:
            _improve(block, model)


@part
def _extend(block: Block, c: int, out: NDArray[np.float32]) -> None:
    """Write a channel's next samples: of the fill, of the draft, then of prediction."""
    done = 0
    if block[SERVES]:
        row = _lines(block)[(c + 1) * block[DRAFTS] - 1]
        done = play_fill(_fills(block)[c], row[block[START] :], block[POSITION], out)
    if done < out.size:
        prediction.extend_channel(block, c, out[done:])


@inlined
def _bridge(block: Block) -> None:
    """Bridge a gap whose end has come, with the fill as its near side."""
    channels, gap = block[CHANNELS], block[BRIDGE]
    through = prediction.through_rows(block)
    n = prediction.samples_ahead(block, block[KNOWN], gap)
    for c in range(channels):
        _extend(block, c, through[c, :n])
    block[POSITION] += n
    after = float_rows(block, AFTER, (channels, block[REACH]))
    block[LANDED] = prediction.land(block, after, block[KNOWN], gap)
    if block[LANDED]:
        block[SERVES] = 0


@kernel
def fill_part(block: Block, model: int, flags: int) -> None:
    """Fill the part that the step asks for; without a network in the block leave it as it is.

    Parameters
    ----------
    block
        Of the stream.
    model : int
        Address of its network's block.
    flags : int
        What the step answered.
    """
    if not block[NETWORK]:
        return
    before = flush_denormals()
    if flags & BEGAN and block[TAKEN]:
        _take_prepared(block)
    elif flags & BEGAN:
        _begin(block, model)
    if flags & GOES_ON:
        _go_on(block, model)
    if flags & WANTS_BRIDGE:
        _bridge(block)
    if flags & WANTS_FILL:
        n = block[FILL_SAMPLES]
        rows = float_rows(block, FILL, (block[CHANNELS], n))
        for c in range(rows.shape[0]):
            _extend(block, c, rows[c])
        block[POSITION] += n
    improved = block[SERVES] and block[IMPROVED] and block[POSITION] <= block[HORIZON]
    block[RUNG] = block[NETWORK_RUNG] if improved else block[LADDER + 3 * block[STEP] + 2]
    restore_denormals(before)
