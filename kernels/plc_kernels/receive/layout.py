"""The memory of a receiver: one block of 64-bit words, and its layout.

A *unit* is what is received at once: a packet's samples, or a piece of sound. The block holds where
each unit stands, never its sound, which comes back concealed as the *line* that is played. *Media
time* is counted in samples; times are seconds on a clock of the caller's. Each word and array has a
text here, next to its name.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined
from plc_kernels.stream.arrays import Block, BlockTable, doubles, fixed, view_of

ADAPTIVE, HEADROOM, FIXED, FLOOR = range(4)
"""Delay to aim for: a quantile of the jitter; a number more; a number; no less than a number."""
PLAY, PART, LOST, SILENCE, HOLD, WAIT = range(6)
"""Kinds of a block: all is there; some; none, but units behind; none was sent; none, and the line
waits for it; the stream has not begun, or has ended."""
ACCEPTED, DUPLICATE, LATE, STRAY, OVERFLOW, JUMPED, APART, DOUBTFUL = range(8)
"""Outcomes of a unit: it has its place; it had come before; its time had passed; its position is
far from all others; there is no room; the second one in a row that was far; it is so far from its
place that the sender may have begun anew; it is later than the delay ever is, or a double."""
PULL, READY = range(2)
"""What to do next: to pull a block, conceal it and append it; to take what is played."""
NONE, ALL = -2, -1
"""Missing parts of a block of pieces: it is in OUTBOX already; all of it lacks."""
FLOAT32, INT16, MULAW = range(3)
"""Formats of the samples of pieces: full scale 1.0; 16 bits; ITU-T G.711, one byte each."""

LOG_NUMBERS = 1024
"""Numbers that are remembered, behind the newest."""
MOST_HOLES = 128
"""Stretches that were made up, and are remembered for units that come too late."""
LOWS = 8
"""Windows of the base."""
BIN_S = 0.001
"""Width of a bin in the distribution of the jitter."""

TABLE = BlockTable()
_word, _array = TABLE.word, TABLE.array

# Settings, written before lay_out().
RATE = _word("Samples in a second.")
BLOCK_SAMPLES = _word("Samples of a block, which is what is played at once.")
CHANNELS = _word("Channels of the line.")
MODE = _word("ADAPTIVE, HEADROOM, FIXED or FLOOR.")
NUMBERED = _word("Whether units have numbers; else positions, and what came is known by them.")
BEHIND_MOST = _word("Numbers by which a unit may lie behind the newest one.")
NUMBER_BITS = _word("Width of the units' numbers, which wrap; 0: they do not.")
STAMP_BITS = _word("Width of the units' stamps, likewise.")
ROOM = _word("Units that there is room for.")
AHEAD_MOST = _word("Samples by which a position may be ahead of what is played.")
PAST_MOST = _word("Samples by which it may be behind.")
BINS = _word("Bins of the distribution of the jitter.")
PATHS = _word("Ways by which each unit comes.")
LOOKAHEAD = _word("Blocks by which what is appended is behind what was pulled.")
RING_SAMPLES = _word("Samples of pieces that there is room for; 0: units have numbers.")
STRAY_ROOM = _word("Numbers of a stray piece that are kept, of all channels.")

SIZE = _word("Of the block, in bytes.")
ROWS = _word("Channels and the row of marks.")
LINE_ROOM = _word("Samples that the line has room for.")
PAST = _word("Samples of the line that are kept behind what is played.")
WINDOW = _word("Samples of the longest period that is left out or played twice.")
SINC_ROWS = _word("Of the resampler's weights.")
SINC_TAPS = _word("Of each.")
LACKS_ROOM = _word("Samples of the blocks that are looked ahead, and of one more.")
REALS_AT = _word("Where the numbers lie that are no integers, in bytes.")
_UNITS = "Start, stop, place of the number (of pieces: behind a pause?), handle, is it a copy?"
UNITS = _array(_UNITS, np.int64, ROOM, fixed(5))
FREE = _array("Handles that are free, a stack.", np.int64, ROOM)
_PARTS = "Of the last block: handle, first sample of the unit (of pieces: media time), samples, at."
PARTS = _array(_PARTS, np.int64, BLOCK_SAMPLES, fixed(4))
HOLES = _array("Start, stop and kind of what is made up.", np.int64, fixed(MOST_HOLES), fixed(3))
LOG = _array("Of each number: 0 nothing, 1 sound, 2 no sound.", np.int8, fixed(LOG_NUMBERS))
JITTER = _array("How many units were held up by so much.", np.float64, BINS)
SEEN = _array("When one was last, by UNITS_S.", np.float64, BINS)
INBOX = _array("The block to append, concealed; float32.", np.float32, BLOCK_SAMPLES, CHANNELS)
MARKS = _array("Which of its samples were made up.", np.uint8, BLOCK_SAMPLES)
LINE = _array("What waits to be played, below it a row of marks.", np.float32, ROWS, LINE_ROOM)
OUTBOX = _array("The block that is played, likewise.", np.float32, ROWS, BLOCK_SAMPLES)
SINC = _array("Weights of the resampler.", np.float32, SINC_ROWS, SINC_TAPS)
MISSING = _array(
    "Begin and stop of each part that lacks in INBOX.", np.int64, BLOCK_SAMPLES, fixed(2)
)
LACKS = _array("Which samples of the last blocks lacked.", np.uint8, LACKS_ROOM)
RING = _array("Sound of the pieces, by media time.", np.float32, RING_SAMPLES, CHANNELS)
STRAY_SOUND = _array("Sound of the stray piece.", np.float32, STRAY_ROOM)
# Units that are here.
FIRST_OF_STATE = TABLE.next
FILLED = _word("Samples of the line, those behind what is played included.")
PHASE = _word("How far play() is: it fills, it leaves a period out, or it fills again.")
ENDED = _word("Whether the sender said that nothing follows: then silence does.")
AT_ONCE = _word("Whether the first unit is played without a delay.")
IS_STRAY = _word("Whether the last unit stood far from all others.")
STRAY_NEXT = _word("The position behind it.")
STRAY_LENGTH = _word("Its samples.")
GRAIN = _word("What distances of positions have in common, in thousandths of a sample.")
IS_PLACED = _word("Whether the newest piece has a position.")
LATE_NEXT = _word("Media time behind the piece that came too late last.")
STRAY_COUNT = _word("Samples of the stray piece that is kept.")
OUT = _word("Samples that were played.")
LEFT = _word("Samples of OUTBOX that nobody has taken yet.")
LAID_LATE = _word("Samples of pieces behind the time, which the line may yet go back to.")
HEARD = _word("OUT when sound that had come was pulled last, or none waited.")
IN_CONCEALER = _word("Blocks of pieces that the concealer holds back.")
STALE = _word("Of these, those that are not to be heard any more.")
COUNT = _word("Units that are here.")
FREE_COUNT = _word("Handles that are free.")
PARTS_COUNT = _word("Parts of the last block.")
HOLES_COUNT = _word("Stretches that were ever written to HOLES.")
GIVEN = _word("Handle of the unit that was taken last.")
GIVEN_PLACE = _word("The place of its number.")
GIVEN_START = _word("Media time of its first sample.")
UNIT = _word("Samples of which both blocks and the newest unit are made.")
# Numbers.
KNOWS_NUMBER = _word("Whether any number has come since the numbers began.")
NUMBER = _word("The newest number, unwrapped.")
NUMBER_SHIFT = _word("What is added to a number, so that places go on where numbers begin anew.")
OLDEST = _word("The first number that is expected.")
# Stamps.
KNOWS_STAMP = _word("Whether any stamp has come since the stamps began.")
STAMP = _word("The newest stamp, unwrapped.")
SHIFT = _word("What is added to a stamp for its media time.")
FOLLOWS = _word("Whether the next four words hold.")
FOLLOWING = _word("Media time behind the unit with the newest number.")
LENGTH = _word("Samples of that unit.")
NEWEST = _word("The place of its number.")
SHIFTED = _word("Samples by which stamps were last taken back, as the pace contradicted them.")
SHIFTED_PLACE = _word("Place of the number of the unit for which they were.")
STAMPS_SAMPLES = _word("Samples of units in a row whose stamps advance by something else.")
STAMPS_AHEAD = _word("By how much more these stamps advanced.")
STAMPS_NOTED = _word("Whether such a row goes on.")
STAMPS_SOON = _word("Whether its units came so much sooner than stamped that no delay explains it.")
STAMPS_FALSE = _word("Whether the samples keep the pace, not the stamps.")
LATE_ROW = _word("Units in a row that came too late.")
ONSET = _word("Whether the line was moved to a unit that came late, and what follows is looked at.")
# What is played.
BEGUN = _word("Whether the first block has been played.")
POSITION = _word("Media time of the next sample to play.")
HELD = _word("Samples that were made up while the line waits there.")
STARVED = _word("Samples that were made up there, going on, while nothing was behind them.")
IN_HOLE = _word("Whether the last block ended with what was made up.")
LACKED = _word("Whether something of the last block was made up.")
KNOWS_LAST = _word("Whether a unit has been played.")
LAST = _word("Place of the number of the unit that was played last.")
HURRIES = _word("Whether the next block may cut the delay to what CUT_S says.")
NOTED = _word("Units whose transit was noted.")
SINCE_LOOK = _word("Units since the distribution was last looked at.")
LOWS_COUNT = _word("Windows whose least transit is known.")
BASE_LOWS = _word("The newest of these, whose least transit is the base.")
WHOLE_LOWS = _word("The newest of these that had enough units for a rise, in a row.")
WINDOW_UNITS = _word("Units in the newest window.")
WAITS_BEHIND = _word("Units behind a hole that the delay is long enough for.")
COPY_OF = _word("The number of the unit that carried the last copy.")
COPIES_OF = _word("Copies that it carried so far.")
ENGAGED = _word("Whether the speed follows the sender's clock.")
WANTED = _word("Samples to leave out before the next block is played; below 0: to play twice.")
# Counters.
EXPECTED = _word("Numbers passed.")
RECEIVED = _word("Units without doubles.")
DOUBLES = _word("Units that had come before.")
LATE_UNITS = _word("Units that came after their time.")
MERGED = _word("Units that came late, and of which a part, or all after a wait, was played.")
REORDERED = _word("Units that came behind one with a later number.")
EMPTY_UNITS = _word("Units without sound.")
OVERFLOWN = _word("Units for which there was no room.")
COPIES = _word("Units taken from copies that others carried.")
PLAYED = _word("Samples that were received and played.")
LOST_SAMPLES = _word("Samples made up that never came.")
LATE_SAMPLES = _word("Samples made up that came too late, or while the line waited for them.")
UNSENT = _word("Samples made up while the sender sent none.")
SKIPPED = _word("Samples left out to keep within the largest delay, or for want of time.")
DOUBLE_SAMPLES = _word("Samples that had come before, of units with positions.")
JUMPS = _word("Times that positions began anew.")
TAKEN_SAMPLES = _word("Samples of pieces that were played, or wait to be.")
REFUSED_SAMPLES = _word("Samples of pieces that are NaN, infinite or above 1e6.")
OVERFLOW_SAMPLES = _word("Samples of pieces that are too far from all others.")
SHORTENED = _word("Samples left out by whole periods, so that the delay falls.")
LENGTHENED = _word("Samples played twice, likewise, so that it grows.")
EMITTED = _word("Samples that were played, or rested over, since the first unit's.")

# Numbers that are no integers.
_reals = BlockTable()
_real = _reals.word
MOST_S = _real("What the delay never exceeds.")
DELAY_S = _real("The fixed or least delay, or what is added to the quantile.")
LATE_SHARE = _real("Share of the units that may come too late.")
GUESS_S = _real("The delay before anything is known of the jitter.")
COARSE_S = _real("Time that a unit waits for its whole block.")
BASE_S = _real("Transit of a unit that nothing held up; infinite before there was any.")
TARGET_S = _real("Delay aimed for, above the base.")
PACE_S = _real("Least transits of the last two whole windows.", 2)
LINE_BASE_S = _real("The base for which the delay of what is played would be the aim.")
QUANTILE_S = _real("The jitter's quantile, with hysteresis.")
STALL_S = _real("By how much the last stall, or the slower path, held units up.")
USUAL_S = _real("By how much four units of five are held up at most.")
LOSS = _real("Share of what was sent lately that was lost.")
COPIED = _real("The same of what was lost, but came as a copy.")
COPY_S = _real("How long after a unit its copy comes.")
COPY_NEAR_S = _real("The same of the nearest copy of COPY_OF, and of the farthest.", 2)
WEIGHT = _real("Of the next unit in the distribution.")
TOTAL = _real("Of all weights.")
UNITS_S = _real("For how long units came, in seconds; pauses count as one at most.")
NOTED_S = _real("When the last one did.")
CALM_SINCE_S = _real("Since when no unit would have missed a lower aim.")
WINDOW_S = _real("When the newest window of the base began.")
LOW_S = _real("Least transits of the windows, the oldest first.", LOWS)
PULLED_S = _real("When the last block was due.")
CUT_S = _real("The delay that a hurried block cuts to.")
APART = _real("Samples by which stamps are ahead of the samples, forgotten slowly.")
ROUNDED = _real("Samples by which they were off at most, forgotten slowly.")
STAMPS_SINCE_S = _real("When the row of STAMPS_NOTED began.")
LATE_SINCE_S = _real("When the row of LATE_ROW began.")
ONSET_S = _real("Transit, on the line since then, of the unit of ONSET.")
ONSET_BASE_S = _real("The base before, on the same.")
ONSET_LEAST_S = _real("The least transit since.")
ONSET_UNTIL_S = _real("When the network is known to hold nothing up that came before.")
STRETCH = _real("Share by which to play faster than nominal.")
DRIFT = _real("Share by which the sender's clock runs faster, as far as is known.")
ERROR_S = _real("Delay there is, less the one aimed for, smoothed.")
IN_BAND_S = _real("For how long it has been small, and the clocks the same.")
WAITED_S = _real("Delay of the next block that is played, with LOOKAHEAD.")
SPARE = _real("Samples that waited at least, behind the block that was due, lately.")
SPARE_BEFORE = _real("The same of the window before.")
SPARE_SINCE_S = _real("When that window began.")
CHANGED_S = _real("When a period was left out, or played twice, last.")
UNMET_SINCE_S = _real("Since when one is wanted.")
ENOUGH = _real("Correlation from which on a period is taken for one.")
HELD_UP_S = _real("By how much the unit that arrived last was held up, above the base.")
REMOVED = _real("Samples by which faster play was shorter.")
INSERTED = _real("Samples by which slower play was longer.")
DELAYED = _real("Sum over the samples played of their delay, in seconds.")
AIMED = _real("The same of the delay aimed for.")
LINE_AT = _real("Where the next sample to play stands in the line.")
REAL_WORDS = _reals.next
REALS = _word("First of the numbers.", REAL_WORDS)
_word("Up to a multiple of 64 bytes.", -TABLE.next % 8)
HEADER = TABLE.next
"""Words before the arrays."""

array = view_of(TABLE)
ARRAYS = TABLE.rows(range(HEADER))
"""For :func:`~plc_kernels.stream.arrays.place_arrays`."""


@inlined
def reals(block: Block) -> NDArray[np.float64]:
    """Return the numbers among the words: float64, shape (REAL_WORDS,)."""
    return doubles(block, REALS_AT, REAL_WORDS)
