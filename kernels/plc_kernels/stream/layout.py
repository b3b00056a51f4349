"""The memory of a stream: one block of 64-bit words, and its layout.

It begins with words that have names here: settings, places of the arrays, state and counters. The
arrays follow. Nothing in it is an address, so that a block can be copied, kept and sent::

    0            HEADER                                            block[SIZE] bytes
    | named words | numbers, as float64 | arrays, each at a multiple of 64 bytes … |

:func:`lay_out` follows the settings and tells the size; :func:`open_stream` fills the block.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array
from numpy.typing import NDArray

from plc_kernels.compile import inlined, kernel, part
from plc_kernels.content import APART_FRAMES, AVERAGES, CHANGE_BINS, FEATURES
from plc_kernels.edges import edge_sizes
from plc_kernels.level import FORGET_S, HOLD_S, LATELY_S
from plc_kernels.noise import BAND_HZ, BAND_LIMIT_HZ, FRAME_MS, ROWS
from plc_kernels.noise_filling import LEVEL_ROWS, filling_samples
from plc_kernels.spectra.fft import MOST_FACTORS, twiddle_count

Block = NDArray[np.int64]

MAX_CHANNELS = 8
MAX_STEPS = 16
"""Rungs of a ladder."""
MAX_RUNGS = 64
"""Names that concealed samples are counted by."""
TIME_BINS = 1000
"""Of a histogram of durations: 100 a decade from 10 ns on."""

# Words of the settings: they are written before lay_out().
(
    RATE,
    CHANNELS,
    PACKET,
    LOOKAHEAD,
    SEED,
    FIRST_RUNG,
    SEAM,
    INSIDE,
    FADES,
    CROSSFADES,
    BRIDGES,
    PAST,
    STEADY_STEPS,
    UNSTEADY_STEPS,
    NOISE_RUNG,
    REFIT,
) = range(16)
"""Hz; number of channels; samples of a packet; packets of lookahead; seed of the noise (modulo
2**64); for :mod:`~plc_kernels.stream.entry`: the first rung of both ladders, and whether a caller
wants to see drafts. Then what a filler is like: whether prediction is the step's own, whether long
bursts fade, whether their end is crossfaded, whether what follows a gap is made use of, and the
samples of history. The steps of both ladders; the place of noise among the names of rungs; and the
samples of the stream for which a fit to steady content is used again, 0 for none."""

# Where things lie: the size of the block in bytes, then the offset of each array in bytes.
(
    SIZE,
    RING,
    QUEUE,
    MASK,
    ARRIVED,
    MISSING,
    INBOX,
    PLAYING,
    FILL,
    NOISE,
    GAIN,
    BRIDGE_ROWS,
    AFTER,
    RAMP,
    QUICK_RAMP,
    LEVEL_SLOTS,
    LEVEL_COUNTS,
    LEVEL_PEAKS,
    LEVEL_ENERGIES,
    LEVEL_ALLOWED,
    LEVEL_STATE,
    LEVEL_RECENT,
    LEVEL_QUIETEST,
    LEVEL_NOISE,
    HEARD_FRAME,
    HALF_FRAME,
    FACTORS,
    TWIDDLES,
    SCRATCH,
    WINDOWS,
    FRAME,
    SPECTRUM,
    LEVELS,
    BANDS,
    NOISE_COUNTS,
    FLUX,
    NOISE_TAIL,
    RANDOM,
    POWER_SUM,
    CONTENT_AVERAGES,
    CONTENT_LOGS,
    CONTENT_COUNTS,
    CONTENT_FEATURES,
    FIT_FORWARD,
    FIT_BACKWARD,
    FIT_MIRROR,
    PREDICTOR,
    TAPS,
    RECENT,
    LINE,
    FIT_PAST,
    LEAD_IN,
    THROUGH,
    ORDERS,
    LIMITS,
    TIMES,
    GUIDE_ROWS,
    GUIDE_FIT,
    GUIDE_LINES,
    GUIDE_GAINS,
    EDGE_ROWS,
    EDGE_FIT,
    EDGE_LINE,
    FILLING_WINDOWS,
    FILLING_FACTORS,
    FILLING_TWIDDLES,
    FILLING_SCRATCH,
    FILLING_FRAME,
    FILLING_SPECTRUM,
    FILLING_PAST,
    FILLING_NOISE,
    FILLING_LEVELS,
    FILLING_RANDOM,
    REALS_AT,
) = range(16, 90)

# Lengths that follow from the settings.
(
    REACH,
    RAMP_SAMPLES,
    FADE_SAMPLES,
    STEADY_HOLD,
    UNSTEADY_HOLD,
    MEET,
    HOP,
    GLIDE,
    LEVEL_SIZE,
    LEVEL_HOLD,
    LEVEL_FORGET,
    LEVEL_LATELY,
    LEVEL_REACH,
    FRAME_SAMPLES,
    N_FACTORS,
    N_TWIDDLES,
    N_BANDS,
    MOST_ORDER,
    FIT_SAMPLES,
    FILLING_SAMPLES,
    N_FILLING_FACTORS,
    N_FILLING_TWIDDLES,
) = range(90, 112)

# State.
(
    PUSHED,
    SLOT,
    POSITION,
    PLAYED_AT,
    PART_BEGIN,
    PART_STOP,
    PLAY,
    CONCEALED_NOW,
    HISTORY_AT,
    HISTORY_FILLED,
    HISTORY_TRUSTED,
    IN_BURST,
    HOLD,
    LATE,
    AGE,
    RECOVERED,
    BRIDGED,
    BRIDGE,
    LANDED,
    KNOWN,
    GAP,
    FILL_SAMPLES,
    UNSTEADY,
    SPEECH,
    FADING,
    NEWEST,
    BEGINS,
    HEARD,
    MADE,
    FLUX_FRAMES,
    DEPTH,
    STEP,
    FITTED,
    RUNG,
    INTEGER,
    TIMED,
    WAITS,
    FITTED_AT,
    FITTED_STEP,
    TAKES,
    FLAGS,
    KEPT,
    FILLING_AGE,
) = range(112, 155)
QUICK = 155
"""First of a word for each channel."""

COUNTERS = (
    "total_samples_received",
    "concealed_samples",
    "silent_concealed_samples",
    "concealment_events",
    "packets",
    "lost_packets",
    "partial_packets",
    "invalid_packets",
    "crossfaded_samples",
    "bridged_samples",
    "fills_limited",
    "deadline_misses",
    "rung_changes",
    "longest_burst_samples",
)
"""What a stream counts, in the order of its words from :data:`STATS` on."""
STATS = 170
(
    TOTAL_SAMPLES,
    CONCEALED_SAMPLES,
    SILENT_SAMPLES,
    EVENTS,
    PACKETS,
    LOST_PACKETS,
    PARTIAL_PACKETS,
    INVALID_PACKETS,
    CROSSFADED_SAMPLES,
    BRIDGED_SAMPLES,
    FILLS_LIMITED,
    DEADLINE_MISSES,
    RUNG_CHANGES,
    LONGEST_BURST,
) = range(STATS, STATS + len(COUNTERS))
RUNG_SAMPLES = 184
"""First of :data:`MAX_RUNGS` words: concealed samples by rung."""
LADDER = RUNG_SAMPLES + MAX_RUNGS
"""First of the steps of both ladders, steady and unsteady: three words each, order, samples fitted
on and place among the names of rungs."""

NETWORK = LADDER + 2 * MAX_STEPS * 3
"""Whether the stream has a network, which the step asks for fills."""
NETWORK_PAST, NETWORK_RUNG = NETWORK + 1, NETWORK + 2
"""Samples of history that they read, and the place of the first among the names of rungs: those for
speech, for music and for bridges of speech follow one another."""
LISTENS = NETWORK + 3
"""Whether a network hears all that is played: the step then answers part by part."""
NETWORK_WORDS = NETWORK + 4
"""First of the words of :mod:`~plc_kernels.stream.network`."""
SPEECH_NET, MUSIC_NET, BRIDGE_NET = NETWORK + 32, NETWORK + 60, NETWORK + 88
"""First of the words that :mod:`~plc_kernels.stream.gap` has for each network."""
BRIDGE_WORDS, RECALL_WORDS = NETWORK + 116, NETWORK + 144
"""First of those of :mod:`~plc_kernels.stream.bridge` and :mod:`~plc_kernels.stream.recall`."""

DRAFT, LEFT, PREPARED_AT, SECOND, TAKEN = range(NETWORK + 171, NETWORK + 176)
"""Of :mod:`~plc_kernels.stream.preparation`, in streams that have it: where the prediction of a
packet lies, and the samples of each channel that are left of it; the sample of the stream that a
prepared burst begins with, below 0 for none; where the second set of words lies, 0: there is none;
and whether this burst was prepared."""
AWAKE_UNTIL, HEARD_LATER, EPOCH = range(NETWORK + 176, NETWORK + 179)
"""Of the same: the sample from which on all that was played lately is silence; whether what music's
network draws on is taken in when a burst is prepared, and not in each push; and how often the
stream began anew."""
ONE_FOR_ALL, ANSWERS, UNSOUND = range(NETWORK + 179, NETWORK + 182)
"""Whether speech's network serves all content; and how often networks were asked, and answered with
what is no sound."""
FROM_ONSETS = NETWORK + 182
"""Whether prediction is fitted to a sound from its onset on; it is a setting."""
FILLS_NOISE = NETWORK + 183
"""Whether fills keep the level of their bands (:mod:`~plc_kernels.noise_filling`), another one."""

# The numbers among the words are read as float64.
REALS = NETWORK + 184
(
    RECEIVED_SHARE,
    FLUX_DB,
    NOISE_S,
    HURRY_MS,
    LIMIT_MS,
    BURST_MS,
    SPENT_MS,
    GOOD_MAX_MS,
    CONCEALED_MAX_MS,
    SMOOTHING,
    NOISE_SMOOTHING,
    DECAY,
    SPEECH_LOGIT,
    SHARE_RATE,
    RECALL_WEIGHT,
    PREPARE_MS,
) = range(16)
COSTS = 16
"""First of a number for each step of both ladders: its cost in ms."""
NETWORK_MS = COSTS + 2 * MAX_STEPS
"""First of a number for each network, those for speech, music and bridges: what it takes of a
packet, its drafts included, in ms. The step leaves a network out for which there is no time."""
REAL_WORDS = NETWORK_MS + 8
HEADER = REALS + REAL_WORDS
"""Words before the arrays."""

RECOVERY_MS = 2.5
"""Crossfade from a concealment into the first received samples."""
# Where the concealment differs much from the received samples, a long crossfade spoils them.
QUICK_RECOVERY_MS = 0.5
# Prediction holds for this time (G.711 Appendix I and EVS begin to fade earlier, for speech); then
# the level falls, and the background takes over.
STEADY_HOLD_MS = 60.0
UNSTEADY_HOLD_MS = 20.0
FADE_MS = 100.0
RUN_ON_MS = 5.0
"""Both predictions of a bridge go on so far beyond the gap, and are weighed by how they meet."""
SLOT_MS = 5.0
"""Of the record of received levels; also the time constant of the mean power."""
GLIDE_MS = 1.0
"""The gain of a limited concealment changes within this time."""
NOISE_MEAN_MS = 20.0
"""Time constant of the mean power of comfort noise."""

SHARE_S = 0.5
"""Time constant of the share of packets that were received."""
# Where nothing can be fitted, the last sample decays with this time constant: no step.
DECAY_MS = 0.5
MUSIC_RATE = 32_000
"""From this rate on, in Hz, most streams are music."""
SPEECH_FROM = 0.8
"""Probability from which on it is speech: a network for speech spoils music, while its absence
does speech little harm."""
MUSIC_RATE_SPEECH_FROM = 0.85
"""The same at rates from :data:`MUSIC_RATE` on."""
GUIDE_MS, REHEARSED_MS, GUIDE_ORDER_MS, GUIDE_MOST_ORDER = 25.0, 5.0, 2.0, 128
"""Of the history by which channels are compared, of its end, which is predicted, and of the
predictor."""
CHUNK = 1024
"""Samples that are extrapolated at a time."""


def _view(dtype: Any, dimensions: int) -> Any:
    """Return a maker of arrays on a block, or at an address.

    It is called with the block and the word that holds the array's place, or with an address and 0,
    and then with the array's shape.
    """

    @intrinsic
    def view(_context: Any, memory: Any, word: Any, shape: Any) -> Any:
        array = types.Array(dtype, dimensions, "C")

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place, where, extent = arguments
            byte = ir.IntType(8).as_pointer()
            if isinstance(memory, types.Array):
                begin = context.make_array(memory)(context, builder, place).data
                offset = builder.load(builder.gep(begin, [where]))
                data = builder.gep(builder.bitcast(begin, byte), [offset])
            else:
                data = builder.inttoptr(place, byte)
            sizes = cgutils.unpack_tuple(builder, extent) if dimensions > 1 else [extent]
            itemsize = context.get_abi_sizeof(context.get_data_type(dtype))
            strides = [context.get_constant(types.intp, itemsize)]
            for size in reversed(sizes[1:]):
                strides.insert(0, builder.mul(strides[0], size))
            made = context.make_array(array)(context, builder)
            populate_array(
                made,
                data=builder.bitcast(data, made.data.type),
                shape=sizes,
                strides=strides,
                itemsize=itemsize,
                meminfo=None,
            )
            return made._getvalue()

        extents = types.intp if dimensions == 1 else types.UniTuple(types.intp, dimensions)
        place = memory if isinstance(memory, types.Array) else types.intp
        return array(place, types.intp, extents), generate

    return view


floats = _view(types.float32, 1)
"""``floats(block, WORD, n)``: float32, shape (n,)."""
float_rows = _view(types.float32, 2)
"""``float_rows(block, WORD, (rows, n))``: float32, shape (rows, n)."""
doubles = _view(types.float64, 1)
double_rows = _view(types.float64, 2)
words = _view(types.int64, 1)
word_rows = _view(types.int64, 2)
unsigned = _view(types.uint64, 1)
float_blocks = _view(types.float32, 4)
complexes = _view(types.complex64, 1)
byte_rows = _view(types.int8, 2)
integer_rows = _view(types.int16, 2)
halves = _view(types.uint16, 1)
"""float16 numbers, as their bits."""
bits = _view(types.uint32, 1)
"""float32 numbers, as their bits."""


@inlined
def reals(block: Block) -> NDArray[np.float64]:
    """Return the numbers among the words: float64, shape (REAL_WORDS,)."""
    return doubles(block, REALS_AT, REAL_WORDS)  # type: ignore[no-any-return]


@inlined
def samples_of(rate: int, ms: float) -> int:
    """Return a duration in samples, rounded half to even as Python does."""
    return int(np.rint(rate * ms / 1000.0))


@part
def place(block: Block, word: int, size: int) -> None:
    """Give an array of ``size`` bytes its place."""
    block[word] = block[SIZE]
    block[SIZE] += (size + 63) // 64 * 64


@inlined
def second_set(block: Block) -> Block:
    """Return the second set of words, shape (HEADER,), a block of its own."""
    return words(block, SECOND, HEADER)  # type: ignore[no-any-return]


@part
def swap_places(block: Block, word: int) -> None:
    """Give an array's place to the second set, for that of its own."""
    second, apart = second_set(block), block[SECOND]
    there = second[word] + apart
    second[word] = block[word] - apart
    block[word] = there


@inlined
def guide_samples(block: Block) -> int:
    """Return the samples by which channels are compared."""
    return int(min(block[PAST], samples_of(block[RATE], GUIDE_MS)))


@inlined
def guide_order(block: Block) -> int:
    """Return the order of the predictor of that comparison."""
    order = min(samples_of(block[RATE], GUIDE_ORDER_MS), GUIDE_MOST_ORDER)
    return min(order, guide_samples(block) // 4)


@kernel
def reach_of(rate: int, packet: int, lookahead: int) -> int:
    """Return the samples of the longest bridge: a longer gap would be faded in its middle."""
    return min(lookahead * packet, max(samples_of(rate, STEADY_HOLD_MS), packet))


@kernel
def lay_out(block: Block) -> int:
    """Write where everything stands; return the size of the block.

    Parameters
    ----------
    block : int64, shape (HEADER,) at least, read and written
        With the settings, and both ladders where prediction is the step's own.

    Returns
    -------
    int
        Bytes.
    """
    rate, channels, packet = block[RATE], block[CHANNELS], block[PACKET]
    slots = block[LOOKAHEAD] + 1
    delay = block[LOOKAHEAD] * packet
    block[STEADY_HOLD] = samples_of(rate, STEADY_HOLD_MS)
    block[UNSTEADY_HOLD] = samples_of(rate, UNSTEADY_HOLD_MS)
    block[FADE_SAMPLES] = samples_of(rate, FADE_MS)
    block[RAMP_SAMPLES] = max(1, samples_of(rate, RECOVERY_MS))
    block[MEET] = samples_of(rate, RUN_ON_MS)
    reach = block[REACH] = reach_of(rate, packet, block[LOOKAHEAD])
    hop = block[HOP] = max(1, samples_of(rate, SLOT_MS))
    block[GLIDE] = max(1, samples_of(rate, GLIDE_MS))
    block[LEVEL_HOLD] = samples_of(1000, 1000.0 * HOLD_S / SLOT_MS)
    block[LEVEL_FORGET] = samples_of(1000, 1000.0 * FORGET_S / SLOT_MS)
    block[LEVEL_LATELY] = samples_of(1000, 1000.0 * LATELY_S / SLOT_MS)
    block[LEVEL_REACH] = samples_of(1000, (STEADY_HOLD_MS + FADE_MS) / SLOT_MS)
    size = block[LEVEL_SIZE] = block[LEVEL_LATELY] + (delay + hop - 1) // hop + 2
    frame = block[FRAME_SAMPLES] = 2 * int(np.rint(rate * FRAME_MS / 2000.0))
    bins = frame // 2 + 1
    width = max(1, int(np.rint(BAND_HZ * frame / rate)))
    block[N_BANDS] = int(min(BAND_LIMIT_HZ, rate / 2) * frame / rate) // width
    block[N_TWIDDLES] = twiddle_count(frame)
    order = 0
    past = block[PAST]
    if block[INSIDE]:
        past = 1
        for k in range(2 * MAX_STEPS):
            steps = block[STEADY_STEPS] if k < MAX_STEPS else block[UNSTEADY_STEPS]
            if k % MAX_STEPS < steps:
                order = max(order, block[LADDER + 3 * k])
                past = max(past, block[LADDER + 3 * k + 1])
        block[PAST] = past
    short = block[FILLING_SAMPLES] = filling_samples(rate) if block[FILLS_NOISE] else 0
    block[N_FILLING_TWIDDLES] = twiddle_count(short) if short else 0
    block[PAST] = max(block[PAST], block[NETWORK_PAST], short)
    block[MOST_ORDER] = order
    fit = block[FIT_SAMPLES] = past + 2 * reach if block[INSIDE] else 0
    through = reach + block[MEET] if block[INSIDE] else 0
    block[REALS_AT] = 8 * REALS
    block[SIZE] = 8 * HEADER
    place(block, RING, 4 * channels * block[PAST])
    place(block, QUEUE, 4 * slots * channels * packet)
    place(block, MASK, slots * packet)
    place(block, ARRIVED, 8 * slots)
    place(block, MISSING, 16 * (packet + 1))
    place(block, INBOX, 4 * channels * packet)
    place(block, PLAYING, 4 * channels * packet)
    place(block, FILL, 4 * channels * packet)
    place(block, NOISE, 4 * channels * packet)
    place(block, GAIN, 4 * packet)
    place(block, BRIDGE_ROWS, 4 * channels * reach)
    place(block, AFTER, 4 * channels * reach)
    place(block, RAMP, 4 * block[RAMP_SAMPLES])
    place(block, QUICK_RAMP, 4 * block[RAMP_SAMPLES])
    place(block, LEVEL_SLOTS, 8 * size)
    place(block, LEVEL_COUNTS, 8 * size)
    place(block, LEVEL_PEAKS, 4 * channels * size)
    place(block, LEVEL_ENERGIES, 8 * channels * size)
    place(block, LEVEL_ALLOWED, 8 * channels * 4)
    place(block, LEVEL_STATE, 8 * channels * 3)
    place(block, LEVEL_RECENT, 8 * channels * hop)
    place(block, LEVEL_QUIETEST, 8 * channels)
    place(block, LEVEL_NOISE, 8 * channels)
    place(block, HEARD_FRAME, 4 * channels * frame)
    place(block, HALF_FRAME, 4 * channels * (frame // 2))
    place(block, FACTORS, 8 * MOST_FACTORS)
    place(block, TWIDDLES, 8 * block[N_TWIDDLES])
    place(block, SCRATCH, 4 * 4 * (frame // 2))
    place(block, WINDOWS, 4 * 2 * frame)
    place(block, FRAME, 4 * frame)
    place(block, SPECTRUM, 8 * bins)
    place(block, LEVELS, 4 * channels * ROWS * bins)
    place(block, BANDS, 4 * channels * block[N_BANDS])
    place(block, NOISE_COUNTS, 8 * channels * 4)
    place(block, FLUX, 4 * channels * 2)
    place(block, NOISE_TAIL, 4 * channels * (frame // 2))
    place(block, RANDOM, 8 * channels)
    place(block, POWER_SUM, 4 * bins)
    place(block, CONTENT_AVERAGES, 8 * AVERAGES)
    place(block, CONTENT_LOGS, 8 * (APART_FRAMES + 1) * CHANGE_BINS)
    place(block, CONTENT_COUNTS, 8 * 5)
    place(block, CONTENT_FEATURES, 8 * len(FEATURES))
    place(block, FIT_FORWARD, 4 * fit)
    place(block, FIT_BACKWARD, 4 * fit)
    place(block, FIT_MIRROR, 8 * (order + 1))
    place(block, PREDICTOR, 8 * (order + 1))
    place(block, TAPS, 8 * channels * order)
    place(block, RECENT, 8 * channels * order)
    place(block, LINE, 8 * (order + CHUNK))
    place(block, FIT_PAST, 4 * fit)
    place(block, LEAD_IN, 4 * through)
    place(block, THROUGH, 4 * channels * through)
    place(block, ORDERS, 8 * channels)
    place(block, LIMITS, 8 * channels)
    place(block, TIMES, 8 * 2 * TIME_BINS)
    several = channels > 1
    place(block, GUIDE_ROWS, 4 * 3 * guide_samples(block) if several else 0)
    place(block, GUIDE_FIT, 8 * 3 * (guide_order(block) + 1) if several else 0)
    rehearsed = guide_order(block) + samples_of(rate, REHEARSED_MS)
    place(block, GUIDE_LINES, 8 * 2 * rehearsed if several else 0)
    place(block, GUIDE_GAINS, 8 * 2 * channels if several else 0)
    looked, order = edge_sizes(rate)
    place(block, EDGE_ROWS, 4 * 3 * looked)
    place(block, EDGE_FIT, 8 * 3 * (order + 1))
    place(block, EDGE_LINE, 8 * looked)
    place(block, FILLING_WINDOWS, 4 * 2 * short)
    place(block, FILLING_FACTORS, 8 * MOST_FACTORS)
    place(block, FILLING_TWIDDLES, 4 * 2 * block[N_FILLING_TWIDDLES])
    place(block, FILLING_SCRATCH, 4 * 4 * (short // 2))
    place(block, FILLING_FRAME, 4 * short)
    place(block, FILLING_SPECTRUM, 8 * (short // 2 + 1))
    place(block, FILLING_PAST, 4 * channels * short)
    place(block, FILLING_NOISE, 4 * channels * short)
    place(block, FILLING_LEVELS, 4 * channels * LEVEL_ROWS * (short // 2 + 1))
    place(block, FILLING_RANDOM, 8)
    return int(block[SIZE])
