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
"""Bins of a histogram of durations: 100 a decade from 10 ns on."""

TABLE = BlockTable()
"""The words and arrays of the block, those of other modules included."""
_word, _array = TABLE.word, TABLE.array

# Settings: whoever opens the stream writes them before lay_out().
RATE = _word("Sample rate in Hz.")
CHANNELS = _word("Number of channels, 1 to MAX_CHANNELS.")
PACKET = _word("Samples of a packet in each channel.")
LOOKAHEAD = _word("Packets that have to follow before a packet is played; 0: no delay.")
SEED = _word("Seed of the noise, modulo 2**64.")
FIRST_RUNG = _word("First rung of both ladders, as `stream.entry` was asked; no kernel reads it.")
SEAM = _word("Whether step() also ends early with its own prediction, to show it to the caller.")
PAST = _word("Samples of history: the most that a rung, a network or noise filling reads.")
STEADY_STEPS = _word("Steps of the ladder for steady content, such as music.")
UNSTEADY_STEPS = _word("Steps of the ladder for content that changes fast, such as speech.")
NOISE_RUNG = _word("Place of comfort noise among the names of rungs.")
REFIT = _word("Samples for which a predictor of steady content is used again; 0: not at all.")
FROM_ONSETS = _word("Whether a predictor is fitted to a sound from its onset on.")
FILLS_NOISE = _word("Whether fills keep the level of their bands, by `signal.noise_filling`.")
CONTENT = _word("Content that the user states: 0 for none, AS_MUSIC or AS_SPEECH.")

# Lengths that follow from the settings.
AHEAD = _word("Packets behind the newest one of which something may be known already.")
SLOTS = _word(
    "Packets that QUEUE has room for: LOOKAHEAD + AHEAD, the next one and that played last."
)
MISSING_PARTS = _word("The most missing parts of a packet, and one more.")
REACH = _word("Samples of the longest gap that is bridged as a whole.")
RAMP_SAMPLES = _word("Samples of the crossfade from a concealment to received samples.")
FADE_SAMPLES = _word("Samples in which the level of a burst falls, once it is no longer held.")
STEADY_HOLD = _word("Samples for which the level of a burst is held in steady content.")
UNSTEADY_HOLD = _word("The same in content that changes fast.")
MEET = _word("Samples beyond a gap where a prediction is compared with received samples.")
HOP = _word("Samples of a slot in the record of received levels: 5 ms.")
GLIDE = _word("Samples within which the gain of a limited concealment changes.")
LEVEL_SIZE = _word("Slots that the record of received levels has room for.")
LEVEL_HOLD = _word("Age of a slot, in slots, up to which it allows its whole level.")
LEVEL_FORGET = _word("Age from which on it allows nothing, if ages matter.")
LEVEL_LATELY = _word("Age from which on it does not count, even if ages do not matter.")
LEVEL_REACH = _word("Slots behind NEWEST in which ages still grow: the longest hold and fade.")
FRAME_SAMPLES = _word("Samples of a frame that the background is learned from: 20 ms.")
HALF_SAMPLES = _word("Half of them: comfort noise is made so many at a time.")
FRAME_BINS = _word("Bins of the spectrum of such a frame.")
HEARD_BINS = _word("Bins of POWER_SUM: as many, or those that content's network hears.")
N_FACTORS = _word("Entries of FACTORS in use.")
N_TWIDDLES = _word("Numbers in a row of TWIDDLES.")
N_BANDS = _word("Bands of 200 Hz whose change is measured, up to 4 kHz.")
MOST_ORDER = _word("Coefficients of the longest predictor on both ladders.")
PREDICTORS = _word("Predictors: one for each channel, and one beside each.")
FIT_SAMPLES = _word("The most samples of a fit: the longest past, and twice REACH.")
FIT_NUMBERS = _word("Coefficients of the longest predictor with the leading 1.")
LINE_NUMBERS = _word("Numbers of LINE: MOST_ORDER, and a chunk of predicted samples.")
THROUGH_SAMPLES = _word("Samples through the longest gap and beyond: REACH + MEET.")
GUIDE_SAMPLES = _word("Samples of history by which channels are compared; 0 for one channel.")
GUIDE_ORDER = _word("Coefficients of the predictor by which channels are compared.")
GUIDE_NUMBERS = _word("The same with the leading 1.")
GUIDE_LINE = _word("Samples that this predictor is tried on, and GUIDE_ORDER before them.")
EDGE_SAMPLES = _word("Samples of history that tell whether its end is damaged.")
EDGE_NUMBERS = _word("Coefficients of the predictor for that, with the leading 1.")
FILLING_SAMPLES = _word("Samples of a frame of noise filling: about 5.3 ms; 0: there is none.")
FILLING_HALF = _word("Half of them.")
FILLING_BINS = _word("Bins of the spectrum of such a frame.")
N_FILLING_FACTORS = _word("Entries of FILLING_FACTORS in use.")
N_FILLING_TWIDDLES = _word("Numbers in a row of FILLING_TWIDDLES.")

SIZE = _word("Bytes of the block, with all that was given a place so far.")
# Arrays: each word holds the offset in bytes.
RING = _array("History: the samples played last, a ring.", np.float32, CHANNELS, PAST)
QUEUE = _array("Packets that are held, by slot.", np.float32, SLOTS, CHANNELS, PACKET)
MASK = _array("Missing channels of a sample, bit by bit, if PARTIAL.", np.int8, SLOTS, PACKET)
ARRIVED = _array("Whether a packet is LOST, WHOLE or PARTIAL (`stream.queue`).", np.int64, SLOTS)
MISSING = _array("Begin and end of missing parts; the caller's.", np.int64, MISSING_PARTS, fixed(2))
INBOX = _array("A packet in, a packet out, for callers in Python.", np.float32, PACKET, CHANNELS)
PLAYING = _array("The packet that is played.", np.float32, CHANNELS, PACKET)
FILL = _array("The fill of a part; rows of FILL_SAMPLES.", np.float32, CHANNELS, PACKET)
NOISE = _array("Comfort noise for a part; rows likewise.", np.float32, CHANNELS, PACKET)
GAIN = _array("Gain of a part's samples in a fade.", np.float32, PACKET)
BRIDGE_ROWS = _array("What bridges a gap of BRIDGE samples.", np.float32, CHANNELS, REACH)
AFTER = _array("The KNOWN samples received behind that gap.", np.float32, CHANNELS, REACH)
RAMP = _array("Weight of received samples behind a concealment.", np.float32, RAMP_SAMPLES)
QUICK_RAMP = _array("The same, whole after 0.5 ms.", np.float32, RAMP_SAMPLES)
LEVEL_SLOTS = _array("Number of the slot at each place; -1: none.", np.int64, LEVEL_SIZE)
LEVEL_COUNTS = _array("Samples received in it.", np.int64, LEVEL_SIZE)
LEVEL_PEAKS = _array("Largest magnitude in it.", np.float32, CHANNELS, LEVEL_SIZE)
LEVEL_ENERGIES = _array("Sum of squares in it.", np.float64, CHANNELS, LEVEL_SIZE)
LEVEL_ALLOWED = _array("Peak and power by age, at any age.", np.float64, CHANNELS, fixed(4))
LEVEL_STATE = _array("Gain, mean power, place in LEVEL_RECENT.", np.float64, CHANNELS, fixed(3))
LEVEL_RECENT = _array("Squares of the last fills, a ring.", np.float64, CHANNELS, HOP)
LEVEL_QUIETEST = _array("Least mean power of a recent slot.", np.float64, CHANNELS)
LEVEL_NOISE = _array("Running mean power of comfort noise.", np.float64, CHANNELS)
HEARD_FRAME = _array("Received samples of a frame.", np.float32, CHANNELS, FRAME_SAMPLES)
HALF_FRAME = _array("Comfort noise made ahead.", np.float32, CHANNELS, HALF_SAMPLES)
FACTORS = _array("Factors of a frame's transform.", np.int64, fixed(MOST_FACTORS))
TWIDDLES = _array("Table of that transform.", np.float32, fixed(2), N_TWIDDLES)
SCRATCH = _array("Its scratch memory.", np.float32, fixed(4), HALF_SAMPLES)
WINDOWS = _array("Hann, for spectra; sine, for noise.", np.float32, fixed(2), FRAME_SAMPLES)
FRAME = _array("Scratch: a frame of one channel.", np.float32, FRAME_SAMPLES)
SPECTRUM = _array("Scratch: the spectrum of that.", np.complex64, FRAME_BINS)
LEVELS = _array("Powers: `noise.NoiseState.levels`.", np.float32, CHANNELS, fixed(ROWS), FRAME_BINS)
BANDS = _array("Power of bands in the last frame.", np.float32, CHANNELS, N_BANDS)
NOISE_COUNTS = _array("Frames; `noise.NoiseState.counts`.", np.int64, CHANNELS, fixed(4))
FLUX = _array("Change in dB; `noise.NoiseState.flux`.", np.float32, CHANNELS, fixed(2))
NOISE_TAIL = _array("Second half of a frame of noise.", np.float32, CHANNELS, HALF_SAMPLES)
RANDOM = _array("State of the random numbers of noise.", np.uint64, CHANNELS)
POWER_SUM = _array("Power of bins, all channels together; also scratch.", np.float32, HEARD_BINS)
CONTENT_NUMBERS = _array("Loudest level in dB; logit of speech.", np.float64, fixed(2))
CONTENT_LOGS = _array(
    "Log spectra of the last frames.", np.float32, fixed(APART_FRAMES + 1), fixed(CHANGE_BINS)
)
CONTENT_COUNTS = _array("Loud frames; frames in a row; whether speech.", np.int64, fixed(3))
CONTENT_INPUTS = _array("A frame as content's network takes it.", np.float32, fixed(INPUTS))
CONTENT_UNITS = _array("State of that network, and its scratch.", np.float32, fixed(MEMORY))
FIT_FORWARD = _array("Scratch: forward errors of a fit.", np.float32, FIT_SAMPLES)
FIT_BACKWARD = _array("Scratch: backward errors of a fit.", np.float32, FIT_SAMPLES)
FIT_MIRROR = _array("Scratch of a fit, as `ar.burg` takes it.", np.float64, FIT_NUMBERS)
PREDICTOR = _array("The predictor fitted last, from the leading 1 on.", np.float64, FIT_NUMBERS)
TAPS = _array("Coefficients to predict with.", np.float64, PREDICTORS, MOST_ORDER)
RECENT = _array("Samples that a prediction goes on from.", np.float64, PREDICTORS, MOST_ORDER)
LINE = _array("Scratch: samples known and predicted, in a row.", np.float64, LINE_NUMBERS)
FIT_PAST = _array("Samples that are fitted, of one channel.", np.float32, FIT_SAMPLES)
LEAD_IN = _array("A channel predicted back from behind a gap.", np.float32, THROUGH_SAMPLES)
THROUGH = _array("Prediction through a gap.", np.float32, CHANNELS, THROUGH_SAMPLES)
ORDERS = _array("Coefficients in use; 0: no predictor.", np.int64, PREDICTORS)
LIMITS = _array("Magnitude that a prediction stays within.", np.float64, PREDICTORS)
WEIGHTS = _array("Weight of the predictor beside, 0 to 1.", np.float64, CHANNELS)
TIMES = _array("Packets by time: received, concealed.", np.int64, fixed(2), fixed(TIME_BINS))
GUIDE_ROWS = _array("History, and errors of its fit.", np.float32, fixed(3), GUIDE_SAMPLES)
GUIDE_FIT = _array("Scratch, predictor, coefficients.", np.float64, fixed(3), GUIDE_NUMBERS)
GUIDE_LINES = _array("Errors in a lost and another channel.", np.float64, fixed(2), GUIDE_LINE)
GUIDE_GAINS = _array("Guide of a channel, or -1; gain.", np.float64, CHANNELS, fixed(2))
EDGE_ROWS = _array("History, and errors of its fit.", np.float32, fixed(3), EDGE_SAMPLES)
EDGE_FIT = _array("The predictor, and scratch of its fit.", np.float64, fixed(3), EDGE_NUMBERS)
EDGE_LINE = _array("Errors of prediction; then what is predicted.", np.float64, EDGE_SAMPLES)
FILLING_WINDOWS = _array("Hann; sine, for noise.", np.float32, fixed(2), FILLING_SAMPLES)
FILLING_FACTORS = _array("Factors of a frame's transform.", np.int64, fixed(MOST_FACTORS))
FILLING_TWIDDLES = _array("Table of that.", np.float32, fixed(2), N_FILLING_TWIDDLES)
FILLING_SCRATCH = _array("Its scratch memory.", np.float32, fixed(4), FILLING_HALF)
FILLING_FRAME = _array("Scratch: a frame of one channel.", np.float32, FILLING_SAMPLES)
FILLING_SPECTRUM = _array("Scratch: the spectrum of that.", np.complex64, FILLING_BINS)
FILLING_PAST = _array("Newest samples of the fill.", np.float32, CHANNELS, FILLING_SAMPLES)
FILLING_NOISE = _array("Half a frame, and the next's begin.", np.float32, CHANNELS, FILLING_SAMPLES)
FILLING_LEVELS = _array(
    "Powers: `noise_filling.Filling.levels`.", np.float32, CHANNELS, fixed(LEVEL_ROWS), FILLING_BINS
)
FILLING_RANDOM = _array("State of random numbers, alike in all channels.", np.uint64, fixed(1))
_ROWS = TABLE.rows(range(RING, TABLE.next))
# In streams that prepare bursts (stream.preparation).
DRAFT = _array("Prediction of a burst's first packet.", np.float32, CHANNELS, PACKET)
LEFT = _array("Samples of DRAFT that were not taken yet.", np.int64, CHANNELS)
SECOND = _word("Place of the second set of words, in bytes; 0: there is none.")
REALS_AT = _word("Place of the numbers that are float64, in bytes.")

# State.
PUSHED = _word("Packets taken in since the stream began.")
KNOWN_AT = _word("PUSHED when something behind the next packet was handed over; below 0: nothing.")
SLOT = _word("Slot of the packet that is played; the newest one is LOOKAHEAD slots behind it.")
POSITION = _word("First sample of the packet that is played, counted in the stream.")
PLAYED_AT = _word("First sample of the part that is played, likewise.")
PART_BEGIN = _word("First sample of that part, counted in its packet.")
PART_STOP = _word("The sample behind it.")
PLAY = _word("What is done for the part: _RECEIVED … PLAYS_NOISE of `stream.step`.")
CONCEALED_NOW = _word("Whether anything of the packet that is played was made up.")
HISTORY_AT = _word("Where the next sample goes in RING.")
HISTORY_FILLED = _word("Samples that RING holds.")
HISTORY_TRUSTED = _word("Newest samples in a row that were received, or made at full level.")
IN_BURST = _word("Whether a burst goes on; it ends behind the crossfade to received samples.")
HOLD = _word("Samples for which the level of this burst is held.")
LATE = _word("Samples behind the hold within which a bridge may still begin.")
AGE = _word("Samples made for this burst so far.")
RECOVERED = _word("Samples of the crossfade behind it so far.")
BRIDGED = _word("Samples of the bridge that were played.")
BRIDGE = _word("Samples of the bridge in BRIDGE_ROWS; 0: there is none.")
LANDED = _word("Whether the bridge runs into the received samples: no crossfade follows.")
KNOWN = _word("Samples in AFTER.")
GAP = _word("Samples of the gap that a burst began to bridge as a whole; 0: it did not.")
FILL_SAMPLES = _word("Samples that the part needs, of a fill or for the crossfade.")
UNSTEADY = _word("Whether content changed fast, as speech does, when the burst began.")
SPEECH = _word("Whether it was speech then, or speech's network serves all content.")
FADING = _word("Whether the level had begun to fall when the bridge began.")
NEWEST = _word("Newest slot of the record of levels in which anything was received.")
BEGINS = _word("Whether LEVEL_STATE still has to take over the level before the burst.")
HEARD = _word("Samples in HEARD_FRAME.")
MADE = _word("Samples of HALF_FRAME that were used.")
FLUX_FRAMES = _word("Frames that FLUX_DB is the mean of, at most 100.")
REHEARSALS = _word("Rehearsals that the record of both predictions is the mean of, at most 40.")
REHEARSED_AT = _word("Sample of the stream behind which the next may be.")
NO_SPEECH = _word("Whether it is no speech by that record, whatever content's network says.")
DEPTH = _word("Steps that are left out at the top of the ladders; the caller's.")
STEP = _word("Step of both ladders in use, those for unsteady content from MAX_STEPS on.")
FITTED = _word("Whether a predictor was fitted; the caller, or a prepared burst, sets it to 0.")
RUNG = _word("Place among the names of rungs of what makes the fill.")
INTEGER = _word("Whether packets are int16, and not float32.")
TIMED = _word("Kind of the packet that SPENT_MS is of: GOOD or CONCEALED of `stream.start`; or 0.")
WAITS = _word("Whether step() ended early for a fill, and is to be called with GO_ON.")
FITTED_AT = _word("Sample of the stream at which the predictors were fitted.")
FITTED_STEP = _word("Step of the ladders that they were fitted for; -1: they are of no more use.")
TAKES = _word("Whether the stream's packet arrived: the caller of step_many() writes it.")
FLAGS = _word("What step() answered, for the caller of step_many().")
KEPT = _word("Channels that arrived throughout the burst, bit by bit; -1: nothing is known yet.")
FILLING_AGE = _word("Samples of the burst that noise filling has seen.")
QUICK = _word("First of a word for each channel: whether it recovers by QUICK_RAMP.", MAX_CHANNELS)
NETWORK = _word("Whether the stream has a network, which the step asks for fills.")
NETWORK_PAST = _word("Samples of history that the networks read.")
NETWORK_RUNG = _word("Place of speech's network among the names of rungs; two others follow.")
LISTENS = _word("Whether step() ends early after each part, so that music's network hears it.")
HEARD_SAMPLES = _word("Samples of speech after which that network hears no more of it.")
MUSIC_AT = _word("First sample of the last part that was not speech, counted in the stream.")
PREPARED_AT = _word("Sample of the stream that a prepared burst begins with; below 0: none.")
TAKEN = _word("Whether this burst was prepared.")
KEY = _word("First of the inputs of a burst, in the order of `extend.INPUTS`.", 11)
AWAKE_UNTIL = _word("Sample of the stream behind which all that was played lately is silence.")
HEARD_LATER = _word("Whether music's network hears when a burst is prepared, and not in each push.")
EPOCH = _word("How often the stream began anew.")
ONE_FOR_ALL = _word("Whether speech's network serves all content.")
ANSWERS = _word("How often networks were asked.")
UNSOUND = _word("How often they answered with what is not finite.")
OUTSIDE = _word("Whether networks' forward passes are computed outside (`stream.networks`).")
ASKED = _word("First of the words of the network that is asked there.")
GIVEN = _word("Whether a network's answer was written to FILLED, and is finite.")
PHASE = _word("Where fill_part() goes on when it is called again; 0: at its beginning.")

_counted: list[str] = []
STATS = TABLE.next


def _counter(text: str, name: str) -> int:
    _counted.append(name)
    return _word(text)


TOTAL_SAMPLES = _counter("Samples played, made up or not.", "total_samples_received")
CONCEALED_SAMPLES = _counter("Samples made up.", "concealed_samples")
SILENT_SAMPLES = _counter("Of these, comfort noise alone.", "silent_concealed_samples")
EVENTS = _counter("Bursts.", "concealment_events")
PACKETS = _counter("Packets that were pushed, lost ones included.", "packets")
LOST_PACKETS = _counter("Packets that did not arrive.", "lost_packets")
PARTIAL_PACKETS = _counter("Packets that arrived in part.", "partial_packets")
INVALID_PACKETS = _counter("Packets refused: not finite, or above 1e6.", "invalid_packets")
CROSSFADED_SAMPLES = _counter("Samples of crossfades behind bursts.", "crossfaded_samples")
BRIDGED_SAMPLES = _counter("Samples made up that were bridges.", "bridged_samples")
FILLS_LIMITED = _counter("Fills that were turned down.", "fills_limited")
DEADLINE_MISSES = _counter("Concealments that took too long; the caller's.", "deadline_misses")
RUNG_CHANGES = _counter("Steps taken on the ladders; the caller's.", "rung_changes")
LONGEST_BURST = _counter("Samples of the longest burst.", "longest_burst_samples")
COUNTERS = tuple(_counted)
"""What a stream counts, in the order of its words from :data:`STATS` on."""
RUNG_SAMPLES = _word("First of a word for each rung: samples made up by it.", MAX_RUNGS)
LADDER = _word(
    "First of the steps of both ladders, steady and unsteady: three words each, order, samples to "
    "fit and place among the names of rungs.",
    2 * MAX_STEPS * 3,
)

NETWORK_TABLE = TABLE.room("Words of `stream.extend_network`.", 29)
BRIDGE_TABLE = TABLE.room("Words of `stream.bridge`.", 23)
RECALL_TABLE = TABLE.room("Words of `stream.extend_music`.", 33)
NET_WORDS = 30
SPEECH_NET = _word("First of the words of `stream.gap` for speech's network.", NET_WORDS)
MUSIC_NET = _word("The same for music's network.", NET_WORDS)
BRIDGE_NET = _word("The same for the network of bridges in speech.", NET_WORDS)

_reals = BlockTable()
_real = _reals.word
# The numbers among the words are read as float64.
RECEIVED_SHARE = _real("Share of the last half second that was received, 0 to 1.")
FLUX_DB = _real("Mean change of the levels of bands from frame to frame, in dB.")
RECORD = _real("Root of the relative error of music's prediction in rehearsals; of speech's.", 2)
NOISE_S = _real("Seconds of comfort noise since anything was received.")
HURRY_MS = _real("Time for a lost packet while the caller is behind; inf: it is not.")
LIMIT_MS = _real("Time for all bursts of a packet; the caller's.")
BURST_MS = _real("Time for each burst of the packet that is played.")
SPENT_MS = _real("Time that the last packet took; the caller writes it, with TIMED.")
GOOD_MAX_MS = _real("Longest time that a received packet took.")
CONCEALED_MAX_MS = _real("Longest time that a concealed packet took.")
SMOOTHING = _real("Weight of a new sample in the running mean power of a fill.")
NOISE_SMOOTHING = _real("Weight of a new sample in the running mean power of comfort noise.")
DECAY = _real("Factor from sample to sample where no predictor can be fitted.")
SHARE_RATE = _real("Exponent by which RECEIVED_SHARE forgets with each sample; below 0.")
RECALL_WEIGHT = _real("Weight of passages in music's drafts, 0 to 1; 0: its network is not asked.")
PREPARE_MS = _real("Time for a burst that is prepared; the caller's.")
COSTS = _real("First of a number for each step of both ladders: its cost in ms.", 2 * MAX_STEPS)
NETWORK_MS = _real(
    "First of the ms that the networks for speech, music and bridges take of a packet, drafts "
    "included; inf: not to be asked. The step leaves out a network for which there is no time.",
    3,
)
REAL_WORDS = _reals.next
REALS = _word("First of the numbers that are float64.", REAL_WORDS)
_word("Up to a multiple of 64 bytes.", -TABLE.next % 8)
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
KNOWN_MS = 40.0
"""What is known behind the longest bridge is made use of so far."""
SLOT_MS = 5.0
"""Slot of the record of received levels; also the time constant of the mean power."""
GLIDE_MS = 1.0
"""The gain of a limited concealment changes within this time."""
NOISE_MEAN_MS = 20.0
"""Time constant of the mean power of comfort noise."""

SHARE_S = 0.5
"""Time constant of the share of packets that were received."""
MUSIC_RATE = 32_000
"""From this rate on, in Hz, most streams are music."""
GUIDE_MS, REHEARSED_MS, GUIDE_ORDER_MS, GUIDE_MOST_ORDER = 25.0, 5.0, 2.0, 128
"""The history by which channels are compared, its end, which is predicted, and the order of the
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
def reach_of(rate: int, packet: int) -> int:
    """Return the samples of the longest bridge: a longer gap would be faded in its middle."""
    return max(samples_of(rate, STEADY_HOLD_MS), packet)


@kernel
def lay_out(block: Block) -> int:
    """Write where everything stands; return the size of the block in bytes.

    ``block``, int64, shape (HEADER,) at least, has the settings, and both ladders.
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
    reach = block[REACH] = reach_of(rate, packet)
    known = reach - packet + samples_of(rate, KNOWN_MS)
    block[AHEAD] = (known + packet - 1) // packet
    block[SLOTS] = block[LOOKAHEAD] + block[AHEAD] + 2
    block[MISSING_PARTS] = packet + 1
    block[STEADY_HOLD] = samples_of(rate, STEADY_HOLD_MS)
    block[UNSTEADY_HOLD] = samples_of(rate, UNSTEADY_HOLD_MS)
    block[FADE_SAMPLES] = samples_of(rate, FADE_MS)
    block[RAMP_SAMPLES] = max(1, samples_of(rate, RECOVERY_MS))
    block[MEET] = samples_of(rate, RUN_ON_MS)
    hop = block[HOP] = max(1, samples_of(rate, SLOT_MS))
    block[GLIDE] = max(1, samples_of(rate, GLIDE_MS))
    block[LEVEL_HOLD] = samples_of(1000, 1000.0 * HOLD_S / SLOT_MS)
    block[LEVEL_FORGET] = samples_of(1000, 1000.0 * FORGET_S / SLOT_MS)
    block[LEVEL_LATELY] = samples_of(1000, 1000.0 * LATELY_S / SLOT_MS)
    block[LEVEL_REACH] = samples_of(1000, (UNSTEADY_HOLD_MS + FADE_MS) / SLOT_MS)
    delay = block[SLOTS] * packet
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
    rate, order, past = block[RATE], 0, 1
    for k in range(2 * MAX_STEPS):
        steps = block[STEADY_STEPS] if k < MAX_STEPS else block[UNSTEADY_STEPS]
        if k % MAX_STEPS < steps:
            order = max(order, block[LADDER + 3 * k])
            past = max(past, block[LADDER + 3 * k + 1])
    compared = block[HALF_SAMPLES] if block[CHANNELS] > 1 else 0  # channels that may be copies
    block[PAST] = max(past, block[NETWORK_PAST], block[FILLING_SAMPLES], compared)
    block[MOST_ORDER], block[FIT_NUMBERS], block[LINE_NUMBERS] = order, order + 1, order + CHUNK
    block[PREDICTORS] = 2 * block[CHANNELS]
    block[FIT_SAMPLES] = past + 2 * block[REACH]
    block[THROUGH_SAMPLES] = block[REACH] + block[MEET]
    if block[CHANNELS] > 1:
        guide = block[GUIDE_SAMPLES] = min(block[PAST], samples_of(rate, GUIDE_MS))
        order = min(samples_of(rate, GUIDE_ORDER_MS), GUIDE_MOST_ORDER, guide // 4)
        block[GUIDE_ORDER], block[GUIDE_NUMBERS] = order, order + 1
        block[GUIDE_LINE] = order + samples_of(rate, REHEARSED_MS)
