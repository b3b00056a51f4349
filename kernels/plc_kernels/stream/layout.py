"""The memory of a stream: one block of 64-bit words, and its layout.

It begins with words that have names here: settings, places of the arrays, state and counters. The
arrays follow. Nothing in it is an address, so that a block can be copied, kept and sent::

    0            HEADER                                            block[SIZE] bytes
    | named words | numbers, as float64 | arrays, each at a multiple of 64 bytes … |

:func:`lay_out` follows the settings and tells the size; :func:`open_stream` fills the block.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, kernel, part
from plc_kernels.signal.content import APART_FRAMES, BINS, CHANGE_BINS, INPUTS, MEMORY
from plc_kernels.signal.edges import edge_sizes
from plc_kernels.signal.level import FORGET_S, HOLD_S, LATELY_S
from plc_kernels.signal.noise import BAND_HZ, BAND_LIMIT_HZ, FRAME_MS, ROWS
from plc_kernels.signal.noise_filling import LEVEL_ROWS, filling_samples
from plc_kernels.signal.predict import CHUNK as CHUNK
from plc_kernels.signal.predict import RUN_ON_MS as RUN_ON_MS
from plc_kernels.spectra.fft import MOST_FACTORS, twiddle_count
from plc_kernels.stream.arrays import (
    Block,
    BlockTable,
    doubles,
    fixed,
    place_arrays,
    view_of,
    words,
)

AS_MUSIC, AS_SPEECH = 1, 2
"""What a stream may be told that it plays; 0: nothing."""
MAX_CHANNELS = 8
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8000, 192_000  # Hz
MAX_STEPS = 16
"""Rungs of a ladder."""
MAX_RUNGS = 64
"""Names that concealed samples are counted by."""
TIME_BINS = 1000
"""Of a histogram of durations: 100 a decade from 10 ns on."""

TABLE = BlockTable()
"""Of the block: its words and arrays, those of other modules included."""
_word, _array = TABLE.word, TABLE.array

# Settings: they are written before lay_out().
RATE = _word()
CHANNELS = _word()
PACKET = _word()
LOOKAHEAD = _word()
SEED = _word()
"""Hz; number of channels; samples of a packet; packets of lookahead; seed of the noise (modulo
2**64)."""
FIRST_RUNG = _word()
SEAM = _word()
"""For :mod:`~plc_kernels.stream.entry`: the first rung of both ladders, and whether a caller wants
to see drafts."""
PAST = _word()
"""Samples of history."""
STEADY_STEPS = _word()
UNSTEADY_STEPS = _word()
NOISE_RUNG = _word()
REFIT = _word()
"""The steps of both ladders; the place of noise among the names of rungs; and the samples of the
stream for which a fit to steady content is used again, 0 for none."""
FROM_ONSETS = _word()
FILLS_NOISE = _word()
"""Whether prediction is fitted to a sound from its onset on, and whether fills keep the level of
their bands (:mod:`~plc_kernels.signal.noise_filling`)."""
CONTENT = _word()
"""What plays, as the user says: 0 for nothing, :data:`AS_MUSIC` or :data:`AS_SPEECH`."""

# Lengths that follow from the settings.
SLOTS = _word()
MISSING_PARTS = _word()
"""Packets that are held; and the most missing parts of one, with one more."""
REACH = _word()
RAMP_SAMPLES = _word()
FADE_SAMPLES = _word()
STEADY_HOLD = _word()
UNSTEADY_HOLD = _word()
MEET = _word()
HOP = _word()
GLIDE = _word()
LEVEL_SIZE = _word()
LEVEL_HOLD = _word()
LEVEL_FORGET = _word()
LEVEL_LATELY = _word()
LEVEL_REACH = _word()
FRAME_SAMPLES = _word()
HALF_SAMPLES = _word()
FRAME_BINS = _word()
HEARD_BINS = _word()
N_FACTORS = _word()
N_TWIDDLES = _word()
N_BANDS = _word()
MOST_ORDER = _word()
PREDICTORS = _word()
FIT_SAMPLES = _word()
FIT_NUMBERS = _word()
LINE_NUMBERS = _word()
THROUGH_SAMPLES = _word()
"""Of a prediction: samples that it may be fitted on, coefficients with the one before them, numbers
of a line that is extrapolated, and samples through a gap and beyond."""
GUIDE_SAMPLES = _word()
GUIDE_ORDER = _word()
GUIDE_NUMBERS = _word()
GUIDE_LINE = _word()
"""Of the comparison of channels: samples of the history, order of the predictor, its coefficients
with the one before them, and samples that are rehearsed with those before. 0 for one channel."""
EDGE_SAMPLES = _word()
EDGE_NUMBERS = _word()
FILLING_SAMPLES = _word()
FILLING_HALF = _word()
FILLING_BINS = _word()
N_FILLING_FACTORS = _word()
N_FILLING_TWIDDLES = _word()

SIZE = _word()
"""Of the block, in bytes."""
# Arrays: each word holds the offset in bytes.
RING = _array(np.float32, CHANNELS, PAST)
QUEUE = _array(np.float32, SLOTS, CHANNELS, PACKET)
MASK = _array(np.int8, SLOTS, PACKET)
ARRIVED = _array(np.int64, SLOTS)
MISSING = _array(np.int64, MISSING_PARTS, fixed(2))
INBOX = _array(np.float32, PACKET, CHANNELS)
PLAYING = _array(np.float32, CHANNELS, PACKET)
FILL = _array(np.float32, CHANNELS, PACKET)
NOISE = _array(np.float32, CHANNELS, PACKET)
GAIN = _array(np.float32, PACKET)
BRIDGE_ROWS = _array(np.float32, CHANNELS, REACH)
AFTER = _array(np.float32, CHANNELS, REACH)
RAMP = _array(np.float32, RAMP_SAMPLES)
QUICK_RAMP = _array(np.float32, RAMP_SAMPLES)
LEVEL_SLOTS = _array(np.int64, LEVEL_SIZE)
LEVEL_COUNTS = _array(np.int64, LEVEL_SIZE)
LEVEL_PEAKS = _array(np.float32, CHANNELS, LEVEL_SIZE)
LEVEL_ENERGIES = _array(np.float64, CHANNELS, LEVEL_SIZE)
LEVEL_ALLOWED = _array(np.float64, CHANNELS, fixed(4))
LEVEL_STATE = _array(np.float64, CHANNELS, fixed(3))
LEVEL_RECENT = _array(np.float64, CHANNELS, HOP)
LEVEL_QUIETEST = _array(np.float64, CHANNELS)
LEVEL_NOISE = _array(np.float64, CHANNELS)
HEARD_FRAME = _array(np.float32, CHANNELS, FRAME_SAMPLES)
HALF_FRAME = _array(np.float32, CHANNELS, HALF_SAMPLES)
FACTORS = _array(np.int64, fixed(MOST_FACTORS))
TWIDDLES = _array(np.float32, fixed(2), N_TWIDDLES)
SCRATCH = _array(np.float32, fixed(4), HALF_SAMPLES)
WINDOWS = _array(np.float32, fixed(2), FRAME_SAMPLES)
FRAME = _array(np.float32, FRAME_SAMPLES)
SPECTRUM = _array(np.complex64, FRAME_BINS)
LEVELS = _array(np.float32, CHANNELS, fixed(ROWS), FRAME_BINS)
BANDS = _array(np.float32, CHANNELS, N_BANDS)
NOISE_COUNTS = _array(np.int64, CHANNELS, fixed(4))
FLUX = _array(np.float32, CHANNELS, fixed(2))
NOISE_TAIL = _array(np.float32, CHANNELS, HALF_SAMPLES)
RANDOM = _array(np.uint64, CHANNELS)
POWER_SUM = _array(np.float32, HEARD_BINS)
CONTENT_NUMBERS = _array(np.float64, fixed(2))
CONTENT_LOGS = _array(np.float32, fixed(APART_FRAMES + 1), fixed(CHANGE_BINS))
CONTENT_COUNTS = _array(np.int64, fixed(3))
CONTENT_INPUTS = _array(np.float32, fixed(INPUTS))
CONTENT_UNITS = _array(np.float32, fixed(MEMORY))
FIT_FORWARD = _array(np.float32, FIT_SAMPLES)
FIT_BACKWARD = _array(np.float32, FIT_SAMPLES)
FIT_MIRROR = _array(np.float64, FIT_NUMBERS)
PREDICTOR = _array(np.float64, FIT_NUMBERS)
TAPS = _array(np.float64, PREDICTORS, MOST_ORDER)
RECENT = _array(np.float64, PREDICTORS, MOST_ORDER)
LINE = _array(np.float64, LINE_NUMBERS)
FIT_PAST = _array(np.float32, FIT_SAMPLES)
LEAD_IN = _array(np.float32, THROUGH_SAMPLES)
THROUGH = _array(np.float32, CHANNELS, THROUGH_SAMPLES)
ORDERS = _array(np.int64, PREDICTORS)
LIMITS = _array(np.float64, PREDICTORS)
WEIGHTS = _array(np.float64, CHANNELS)
TIMES = _array(np.int64, fixed(2), fixed(TIME_BINS))
GUIDE_ROWS = _array(np.float32, fixed(3), GUIDE_SAMPLES)
GUIDE_FIT = _array(np.float64, fixed(3), GUIDE_NUMBERS)
GUIDE_LINES = _array(np.float64, fixed(2), GUIDE_LINE)
GUIDE_GAINS = _array(np.float64, CHANNELS, fixed(2))
EDGE_ROWS = _array(np.float32, fixed(3), EDGE_SAMPLES)
EDGE_FIT = _array(np.float64, fixed(3), EDGE_NUMBERS)
EDGE_LINE = _array(np.float64, EDGE_SAMPLES)
FILLING_WINDOWS = _array(np.float32, fixed(2), FILLING_SAMPLES)
FILLING_FACTORS = _array(np.int64, fixed(MOST_FACTORS))
FILLING_TWIDDLES = _array(np.float32, fixed(2), N_FILLING_TWIDDLES)
FILLING_SCRATCH = _array(np.float32, fixed(4), FILLING_HALF)
FILLING_FRAME = _array(np.float32, FILLING_SAMPLES)
FILLING_SPECTRUM = _array(np.complex64, FILLING_BINS)
FILLING_PAST = _array(np.float32, CHANNELS, FILLING_SAMPLES)
FILLING_NOISE = _array(np.float32, CHANNELS, FILLING_SAMPLES)
FILLING_LEVELS = _array(np.float32, CHANNELS, fixed(LEVEL_ROWS), FILLING_BINS)
FILLING_RANDOM = _array(np.uint64, fixed(1))
_ROWS = TABLE.rows(range(RING, TABLE.next))
DRAFT = _array(np.float32, CHANNELS, PACKET)
LEFT = _array(np.int64, CHANNELS)
"""Of :mod:`~plc_kernels.stream.preparation`, in streams that have it: where the prediction of a
packet lies, and the samples of each channel that are left of it."""
SECOND = _word()
"""Where the second set of words lies, 0: there is none."""
REALS_AT = _word()

# State.
PUSHED = _word()
SLOT = _word()
POSITION = _word()
PLAYED_AT = _word()
PART_BEGIN = _word()
PART_STOP = _word()
PLAY = _word()
CONCEALED_NOW = _word()
HISTORY_AT = _word()
HISTORY_FILLED = _word()
HISTORY_TRUSTED = _word()
IN_BURST = _word()
HOLD = _word()
LATE = _word()
AGE = _word()
RECOVERED = _word()
BRIDGED = _word()
BRIDGE = _word()
LANDED = _word()
KNOWN = _word()
GAP = _word()
FILL_SAMPLES = _word()
UNSTEADY = _word()
SPEECH = _word()
FADING = _word()
NEWEST = _word()
BEGINS = _word()
HEARD = _word()
MADE = _word()
FLUX_FRAMES = _word()
DEPTH = _word()
STEP = _word()
FITTED = _word()
RUNG = _word()
INTEGER = _word()
TIMED = _word()
WAITS = _word()
FITTED_AT = _word()
FITTED_STEP = _word()
TAKES = _word()
FLAGS = _word()
KEPT = _word()
FILLING_AGE = _word()
QUICK = _word(MAX_CHANNELS)
"""First of a word for each channel."""
NETWORK = _word()
"""Whether the stream has a network, which the step asks for fills."""
NETWORK_PAST = _word()
NETWORK_RUNG = _word()
"""Samples of history that they read, and the place of the first among the names of rungs: those for
speech, for music and for bridges of speech follow one another."""
LISTENS = _word()
HEARD_SAMPLES = _word()
MUSIC_AT = _word()
"""Whether a network hears what is played: the step then answers part by part; so many samples of
speech, after which it hears no more of it; and the last part that was not speech."""
PREPARED_AT = _word()
TAKEN = _word()
KEY = _word(11)
"""The sample of the stream that a prepared burst begins with, below 0 for none; whether this burst
was prepared; and first of the inputs of a burst (:func:`~plc_kernels.stream.prediction.gather`)."""
AWAKE_UNTIL = _word()
HEARD_LATER = _word()
EPOCH = _word()
"""The sample from which on all that was played lately is silence; whether what music's network
draws on is taken in when a burst is prepared, and not in each push; and how often the stream began
anew."""
ONE_FOR_ALL = _word()
ANSWERS = _word()
UNSOUND = _word()
"""Whether speech's network serves all content; and how often networks were asked, and answered with
what is no sound."""
OUTSIDE = _word()
ASKED = _word()
GIVEN = _word()
PHASE = _word()
"""Whether networks' forward passes are computed outside (:mod:`~plc_kernels.stream.fills`); first
of the words of the network that is asked there; whether its answer was written to FILLED, finite;
and where a part's fill goes on, 0 for its beginning."""

_counted: list[str] = []
STATS = TABLE.next


def _counter(name: str) -> int:
    _counted.append(name)
    return _word()


TOTAL_SAMPLES = _counter("total_samples_received")
CONCEALED_SAMPLES = _counter("concealed_samples")
SILENT_SAMPLES = _counter("silent_concealed_samples")
EVENTS = _counter("concealment_events")
PACKETS = _counter("packets")
LOST_PACKETS = _counter("lost_packets")
PARTIAL_PACKETS = _counter("partial_packets")
INVALID_PACKETS = _counter("invalid_packets")
CROSSFADED_SAMPLES = _counter("crossfaded_samples")
BRIDGED_SAMPLES = _counter("bridged_samples")
FILLS_LIMITED = _counter("fills_limited")
DEADLINE_MISSES = _counter("deadline_misses")
RUNG_CHANGES = _counter("rung_changes")
LONGEST_BURST = _counter("longest_burst_samples")
COUNTERS = tuple(_counted)
"""What a stream counts, in the order of its words from :data:`STATS` on."""
RUNG_SAMPLES = _word(MAX_RUNGS)
"""First of a word for each rung: concealed samples by rung."""
LADDER = _word(2 * MAX_STEPS * 3)
"""First of the steps of both ladders, steady and unsteady: three words each, order, samples fitted
on and place among the names of rungs."""

# Room for the words that other modules declare.
NETWORK_TABLE = TABLE.room(29)
BRIDGE_TABLE = TABLE.room(23)
RECALL_TABLE = TABLE.room(33)
"""Of :mod:`~plc_kernels.stream.fills`, :mod:`~plc_kernels.stream.bridge_fills` and
:mod:`~plc_kernels.stream.music_drafts`."""
NET_WORDS = 30
SPEECH_NET, MUSIC_NET, BRIDGE_NET = _word(NET_WORDS), _word(NET_WORDS), _word(NET_WORDS)
"""First of the words that :mod:`~plc_kernels.stream.gap` has for each network."""

# The numbers among the words are read as float64.
_reals = BlockTable()
_real = _reals.word
RECEIVED_SHARE = _real()
FLUX_DB = _real()
NOISE_S = _real()
HURRY_MS = _real()
LIMIT_MS = _real()
BURST_MS = _real()
SPENT_MS = _real()
GOOD_MAX_MS = _real()
CONCEALED_MAX_MS = _real()
SMOOTHING = _real()
NOISE_SMOOTHING = _real()
DECAY = _real()
SHARE_RATE = _real()
RECALL_WEIGHT = _real()
PREPARE_MS = _real()
COSTS = _real(2 * MAX_STEPS)
"""First of a number for each step of both ladders: its cost in ms."""
NETWORK_MS = _real(3)
"""First of a number for each network, those for speech, music and bridges: what it takes of a
packet, its drafts included, in ms; inf: it is not to be asked. The step leaves a network out for
which there is no time."""
REAL_WORDS = _reals.next
REALS = _word(REAL_WORDS)
_word(-TABLE.next % 8)
HEADER = TABLE.next
"""Words before the arrays: a multiple of 64 bytes."""

RECOVERY_MS = 2.5
"""Crossfade from a concealment into the first received samples."""
# Where the concealment differs much from the received samples, a long crossfade spoils them.
QUICK_RECOVERY_MS = 0.5
# Prediction holds for this time, longest where a voice may go on (G.711 Appendix I and EVS begin to
# fade earlier); then the level falls, and the background takes over.
STEADY_HOLD_MS = 60.0
UNSTEADY_HOLD_MS = 80.0
FADE_MS = 100.0
SLOT_MS = 5.0
"""Of the record of received levels; also the time constant of the mean power."""
GLIDE_MS = 1.0
"""The gain of a limited concealment changes within this time."""
NOISE_MEAN_MS = 20.0
"""Time constant of the mean power of comfort noise."""

SHARE_S = 0.5
"""Time constant of the share of packets that were received."""
MUSIC_RATE = 32_000
"""From this rate on, in Hz, most streams are music."""
GUIDE_MS, REHEARSED_MS, GUIDE_ORDER_MS, GUIDE_MOST_ORDER = 25.0, 5.0, 2.0, 128
"""Of the history by which channels are compared, of its end, which is predicted, and of the
predictor."""


array = view_of(TABLE)
"""``array(block, WORD)``: an array of the table, in kernels."""


@inlined
def reals(block: Block) -> NDArray[np.float64]:
    """Return the numbers among the words: float64, shape (REAL_WORDS,)."""
    return doubles(block, REALS_AT, REAL_WORDS)


@inlined
def samples_of(rate: int, ms: float) -> int:
    """Return a duration in samples, rounded half to even as Python does."""
    return int(np.rint(rate * ms / 1000.0))


@part
def place(block: Block, base: int, rows: NDArray[np.int16]) -> None:
    """Give arrays of a table the next places; ``rows`` as from ``BlockTable.rows``."""
    block[SIZE] = place_arrays(block, base, rows, block[SIZE])


@inlined
def second_set(block: Block) -> Block:
    """Return the second set of words, shape (HEADER,), a block of its own."""
    return words(block, SECOND, HEADER)


@part
def swap_places(block: Block, word: int) -> None:
    """Exchange an array's place with the second set's."""
    second, apart = second_set(block), block[SECOND]
    there = second[word] + apart
    second[word] = block[word] - apart
    block[word] = there


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
        With the settings, and both ladders.

    Returns
    -------
    int
        Bytes.
    """
    _measure(block)
    _measure_prediction(block)
    block[REALS_AT] = 8 * REALS
    block[SIZE] = 8 * HEADER
    place(block, 0, _ROWS)
    return int(block[SIZE])


@inlined
def _measure(block: Block) -> None:
    """Write the lengths that follow from rate, channels, packet and lookahead."""
    rate, packet = block[RATE], block[PACKET]
    block[SLOTS] = block[LOOKAHEAD] + 1
    block[MISSING_PARTS] = packet + 1
    block[STEADY_HOLD] = samples_of(rate, STEADY_HOLD_MS)
    block[UNSTEADY_HOLD] = samples_of(rate, UNSTEADY_HOLD_MS)
    block[FADE_SAMPLES] = samples_of(rate, FADE_MS)
    block[RAMP_SAMPLES] = max(1, samples_of(rate, RECOVERY_MS))
    block[MEET] = samples_of(rate, RUN_ON_MS)
    block[REACH] = reach_of(rate, packet, block[LOOKAHEAD])
    hop = block[HOP] = max(1, samples_of(rate, SLOT_MS))
    block[GLIDE] = max(1, samples_of(rate, GLIDE_MS))
    block[LEVEL_HOLD] = samples_of(1000, 1000.0 * HOLD_S / SLOT_MS)
    block[LEVEL_FORGET] = samples_of(1000, 1000.0 * FORGET_S / SLOT_MS)
    block[LEVEL_LATELY] = samples_of(1000, 1000.0 * LATELY_S / SLOT_MS)
    block[LEVEL_REACH] = samples_of(1000, (UNSTEADY_HOLD_MS + FADE_MS) / SLOT_MS)
    delay = block[LOOKAHEAD] * packet
    block[LEVEL_SIZE] = block[LEVEL_LATELY] + (delay + hop - 1) // hop + 2
    frame = block[FRAME_SAMPLES] = 2 * int(np.rint(rate * FRAME_MS / 2000.0))
    block[HALF_SAMPLES], block[FRAME_BINS] = frame // 2, frame // 2 + 1
    block[HEARD_BINS] = max(frame // 2 + 1, BINS)
    width = max(1, int(np.rint(BAND_HZ * frame / rate)))
    block[N_BANDS] = int(min(BAND_LIMIT_HZ, rate / 2) * frame / rate) // width
    block[N_TWIDDLES] = twiddle_count(frame)
    looked, order = edge_sizes(rate)
    block[EDGE_SAMPLES], block[EDGE_NUMBERS] = looked, order + 1
    short = block[FILLING_SAMPLES] = filling_samples(rate) if block[FILLS_NOISE] else 0
    block[FILLING_HALF], block[FILLING_BINS] = short // 2, short // 2 + 1
    block[N_FILLING_TWIDDLES] = twiddle_count(short) if short else 0


@inlined
def _measure_prediction(block: Block) -> None:
    """Write the lengths that the ladders ask for, and the samples of history."""
    rate, order, past = block[RATE], 0, 1
    for k in range(2 * MAX_STEPS):
        steps = block[STEADY_STEPS] if k < MAX_STEPS else block[UNSTEADY_STEPS]
        if k % MAX_STEPS < steps:
            order = max(order, block[LADDER + 3 * k])
            past = max(past, block[LADDER + 3 * k + 1])
    block[PAST] = max(past, block[NETWORK_PAST], block[FILLING_SAMPLES])
    block[MOST_ORDER], block[FIT_NUMBERS], block[LINE_NUMBERS] = order, order + 1, order + CHUNK
    block[PREDICTORS] = 2 * block[CHANNELS]
    block[FIT_SAMPLES] = past + 2 * block[REACH]
    block[THROUGH_SAMPLES] = block[REACH] + block[MEET]
    if block[CHANNELS] > 1:
        guide = block[GUIDE_SAMPLES] = min(block[PAST], samples_of(rate, GUIDE_MS))
        order = min(samples_of(rate, GUIDE_ORDER_MS), GUIDE_MOST_ORDER, guide // 4)
        block[GUIDE_ORDER], block[GUIDE_NUMBERS] = order, order + 1
        block[GUIDE_LINE] = order + samples_of(rate, REHEARSED_MS)
