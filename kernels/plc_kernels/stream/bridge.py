"""Bridges of gaps whose end has arrived: prediction from both sides, and a network.

What the network sees is drawn up by :mod:`plc_kernels.signal.bridged_gap`. Where nothing of the
burst was played before, both sides follow the contour of a voice's pitch through the gap.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, part
from plc_kernels.signal.bridged_gap import draw_up, lead_in_along
from plc_kernels.signal.contour import (
    POINTS,
    CrossingSpace,
    bend_near,
    contour_sizes,
    cross,
    met_samples,
)
from plc_kernels.signal.history import copy, newest
from plc_kernels.signal.predict import (
    LEAST_KNOWN,
    RUN_ON_MS,
    Bridge,
    extend_prediction,
    measure_bridge,
    meet_sides,
    predict_beyond,
    turn_back,
)
from plc_kernels.stream import background, queue, tables
from plc_kernels.stream import gap as gaps
from plc_kernels.stream import layout as at
from plc_kernels.stream import model as of
from plc_kernels.stream.arrays import Block, fixed
from plc_kernels.stream.extend import extend_channel, has_time, predictor_of
from plc_kernels.stream.gap import LINES, MADE
from plc_kernels.stream.layout import (
    AFTER,
    BRIDGE_ROWS,
    RING,
    THROUGH,
    array,
    place,
    reach_of,
    samples_of,
)

PLACE = 2
"""Place of the network among those of a stream."""
# Less known than this makes speech worse; less than a quarter of a gap, music.
_LEAST_MS, _LEAST_SHARE = 4.0, 4
_SIDES = 3
"""Drafts of a channel: from the past, from what follows, and both blended."""

_word, _array = at.BRIDGE_TABLE.word, at.BRIDGE_TABLE.array
# What follows from the model and the stream.
SIDE = _word("Samples that are predicted of a side to be bent along the contour.")
AHEAD = _word("Samples of a row from the gap on.")
VOICE = _word("SIDE, and the past from which the contour is expected.")
MET = _word("Samples that a contour is to run into, thinned out; and as many that it makes.")
VOICES = _array("Near side: past, prediction.", np.float32, at.CHANNELS, VOICE)
FAR_VOICE = _array("Far side, backwards, likewise.", np.float32, VOICE)
CONTOURS = _array("Contour through the gap.", np.float32, at.CHANNELS, fixed(POINTS))
PERIODS = _array("Pitch period before it, in samples; 0: none.", np.float64, at.CHANNELS)
MET_AT = _array("What the contour makes there, and what came.", np.float32, MET)
EXPECTED = _array("The contour expected from the past alone.", np.float32, fixed(POINTS))
TURNED = _array("The contour seen from the far side.", np.float32, fixed(POINTS))
FORWARD = _array("The gap as the past predicts it.", np.float32, at.CHANNELS, at.REACH)
BACKWARD = _array("The gap as the far side predicts it.", np.float32, at.CHANNELS, at.REACH)
BEYOND = _array("Prediction behind what came.", np.float32, at.CHANNELS, AHEAD)
SPACE = at.BRIDGE_TABLE.include(tables.SPACE_TABLE)
WORKED_IN = (
    *range(VOICES, at.BRIDGE_TABLE.next),
    *(word for word in at.TABLE.arrays if at.BRIDGE_NET <= word < at.BRIDGE_NET + at.NET_WORDS),
)
"""Arrays that a bridge by the network is made in."""
_ROWS = at.BRIDGE_TABLE.rows(range(VOICES, at.BRIDGE_TABLE.next))
BRIDGED_BY = _word("State of a burst: whether the network made its bridge.")


@part
def fits(model: int, header: Block) -> bool:
    """Return whether a network for bridges can be asked in a stream.

    ``model`` is the address of its block; ``header``, int64, shape (HEADER,), has the settings.
    """
    longest = samples_of(header[at.RATE], tables.real_of(model, of.HORIZON_MS))
    return bool(header[at.PACKET] <= longest)


@part
def measure(model: int, header: Block) -> int:
    """Write the sizes of a network for bridges; return the samples of history that it reads."""
    rate = header[at.RATE]
    gaps.measure_gap(header, at.BRIDGE_NET, model)
    run_on = samples_of(rate, RUN_ON_MS)
    known, side, _, _ = contour_sizes(rate, header[at.BRIDGE_NET + gaps.HORIZON] + run_on)
    header[SIDE] = side
    header[VOICE] = known + side
    header[AHEAD] = header[at.BRIDGE_NET + gaps.SAMPLES] - header[at.BRIDGE_NET + gaps.START]
    tables.measure_space(header, SPACE, model)
    header[MET] = 2 * met_samples(rate)
    return max(int(header[at.BRIDGE_NET + gaps.START]), known)


@inlined
def predicted(header: Block) -> int:
    """Return the samples that are predicted for a bridge, both sides not counted."""
    reach = reach_of(header[at.RATE], header[at.PACKET])
    return int(2 * max(header[SIDE] - reach, 0) + header[AHEAD])


@part
def add_places(header: Block) -> None:
    """Give the arrays of a network for bridges their places."""
    gaps.place_gap(header, at.BRIDGE_NET)
    place(header, 0, _ROWS)


@inlined
def takes_part(block: Block) -> bool:
    """Return whether there is a network for the burst's bridges, and time for it."""
    wanted = gaps.there(block, at.BRIDGE_NET) and block[at.SPEECH]
    return bool(wanted and has_time(block, PLACE))


@inlined
def longest_bridge(block: Block) -> int:
    """Return the samples of the longest gap that is bridged at once: in speech, the network's."""
    both = (
        block[at.NETWORK] and gaps.there(block, at.SPEECH_NET) and gaps.there(block, at.BRIDGE_NET)
    )
    if both and background.is_speech(block) and has_time(block, PLACE):
        return int(min(block[at.REACH], max(block[at.BRIDGE_NET + gaps.HORIZON], block[at.PACKET])))
    return int(block[at.REACH])


@part
def known_behind(block: Block, begin: int) -> tuple[int, int]:
    """Return the samples missing from a sample on, and those known behind, written to AFTER.

    (0, 0) where the burst is bridged already, or too little is known to bridge the gap.
    """
    goes_on = block[at.IN_BURST] and not block[at.RECOVERED]
    if goes_on and block[at.BRIDGE] > block[at.BRIDGED]:
        return 0, 0
    gap = queue.gap_from(block, begin)
    if not 0 < gap <= longest_bridge(block):
        return 0, 0
    least = min(gap, samples_of(block[at.RATE], _LEAST_MS))
    if not background.is_speech(block):
        least = max(least, LEAST_KNOWN, gap // _LEAST_SHARE)
    known = queue.copy_after(block, begin, gap, array(block, AFTER))
    return (gap, known) if known >= least else (0, 0)


@inlined
def serves(block: Block, gap: int) -> bool:
    """Return whether a gap is one for the network."""
    known = block[at.HISTORY_FILLED] >= block[at.BRIDGE_NET + gaps.START]
    return bool(takes_part(block) and known and gap <= block[at.BRIDGE_NET + gaps.HORIZON])


@inlined
def _crossing(block: Block) -> CrossingSpace:
    return CrossingSpace(array(block, MET_AT), array(block, EXPECTED), array(block, TURNED))


@part
def sides_of(block: Block) -> Bridge:
    """Return the sizes of a bridge's fit: KNOWN samples behind a gap of BRIDGE samples."""
    step = at.LADDER + 3 * block[at.STEP]
    return measure_bridge(
        block[at.RATE],
        block[step],
        block[step + 1],
        block[at.HISTORY_FILLED],
        block[at.KNOWN],
        block[at.BRIDGE],
    )


@part
def _turn_back(block: Block, c: int, sides: Bridge, after: NDArray[np.float32]) -> int:
    """Set a channel out as :func:`~plc_kernels.signal.predict.turn_back` does."""
    ring = array(block, RING)[c]
    block[at.FITTED] = 1
    block[at.FITTED_STEP] = -1
    return turn_back(predictor_of(block), c, sides, ring, block[at.HISTORY_AT], after)


@part
def _begin(block: Block, gap: int) -> NDArray[np.float32]:
    """Return the rows of a bridge, shape (channels, REACH), with the near side's prediction."""
    through = array(block, THROUGH)
    rows: NDArray[np.float32] = array(block, BRIDGE_ROWS)
    for c in range(rows.shape[0]):
        copy(through[c], rows[c, :gap])
    return rows


@part
def land(block: Block, sides: Bridge) -> bool:
    """Blend the near side, in THROUGH, with a prediction back from the far side.

    The bridge becomes the first ``gap`` samples of BRIDGE_ROWS. Return whether it ends where
    AFTER begins; if not, too little of that was known.
    """
    rows = _begin(block, sides.gap)
    if sides.order == 0:
        return False
    p = predictor_of(block)
    after = array(block, AFTER)
    for c in range(block[at.CHANNELS]):
        _turn_back(block, c, sides, after[c])
        extend_prediction(p, c, p.lead_in[: sides.gap + sides.meet])
        meet_sides(p, c, sides, rows[c, : sides.gap])
    return True


@part
def predict(block: Block) -> None:
    """Bridge a gap by prediction alone."""
    through = array(block, THROUGH)
    sides = sides_of(block)
    for c in range(block[at.CHANNELS]):
        extend_channel(block, c, through[c, : sides.gap + sides.meet])
    block[at.LANDED] = land(block, sides)


@part
def go_through(block: Block, model: int, gap: int, n: int) -> None:
    """Predict the near side through a gap, along the contour that meets the far side.

    ``model`` is the address of the network's block; the gap has ``gap`` samples, and ``n`` samples
    of THROUGH are written.
    """
    channels, rate, known = block[at.CHANNELS], block[at.RATE], tables.contour_past(block)
    ring = array(block, RING)
    after = array(block, AFTER)
    through = array(block, THROUGH)
    voices, contours = array(block, VOICES), array(block, CONTOURS)
    periods = array(block, PERIODS)
    space = tables.space_of(block, SPACE)
    many = contour_sizes(rate, n)[1]
    for c in range(channels):
        past = voices[c, :known]
        newest(ring[c], block[at.HISTORY_AT], past)
        periods[c] = cross(
            rate,
            tables.contour_of(model),
            space,
            _crossing(block),
            past,
            after[c, : block[at.KNOWN]],
            gap,
            contours[c],
        )
        extend_channel(block, c, voices[c, known : known + many])
        bend_near(rate, space, voices[c], known, periods[c], contours[c], through[c, :n])


@part
def land_drafted(block: Block, sides: Bridge, along: bool) -> bool:
    """Blend both sides as :func:`land` does, and keep them.

    ``along`` the contour if :func:`go_through` wrote the near side.
    """
    channels, known, gap = block[at.CHANNELS], block[at.KNOWN], sides.gap
    rows = _begin(block, gap)
    if sides.order == 0:
        return False
    p = predictor_of(block)
    after = array(block, AFTER)
    forward = array(block, FORWARD)
    backward = array(block, BACKWARD)
    beyond = array(block, BEYOND)
    for c in range(channels):
        stages = _turn_back(block, c, sides, after[c])
        lead_in_along(
            p,
            c,
            sides,
            tables.space_of(block, SPACE),
            _crossing(block),
            array(block, FAR_VOICE),
            array(block, PERIODS)[c] if along else 0.0,
            array(block, CONTOURS)[c],
        )
        copy(p.through[c], forward[c, :gap])
        for i in range(gap):
            backward[c, i] = p.lead_in[gap - 1 - i]
        predict_beyond(p, c, stages, after[c, :known], beyond[c])
        meet_sides(p, c, sides, rows[c, :gap])
    return True


@part
def write_drafts(block: Block, gap: int) -> None:
    """Make the network's rows of the bridge in BRIDGE_ROWS, which :func:`land_drafted` wrote.

    ``gap``, in samples, is one for the network.
    """
    channels, known = block[at.CHANNELS], block[at.KNOWN]
    bridge = array(block, BRIDGE_ROWS)
    ring = array(block, RING)
    after = array(block, AFTER)
    lines = gaps.array_of(block, LINES, at.BRIDGE_NET)
    for c in range(channels):
        draw_up(
            ring[c],
            block[at.HISTORY_AT],
            array(block, FORWARD)[c],
            array(block, BACKWARD)[c],
            bridge[c, :gap],
            after[c, :known],
            array(block, BEYOND)[c],
            block[at.BRIDGE_NET + gaps.START],
            lines[_SIDES * c : _SIDES * (c + 1)],
        )
    gaps.mark(block, at.BRIDGE_NET, gap, True)
    gaps.analyse(block, at.BRIDGE_NET)


@part
def run(block: Block, model: int, work: NDArray[np.float32]) -> None:
    """Run the network; ``work`` has at least its numbers."""
    gaps.run(block, at.BRIDGE_NET, model, work)
    block[at.ANSWERS] += 1
    block[at.UNSOUND] += not block[at.GIVEN]


@part
def take(block: Block, gap: int) -> None:
    """Replace the bridge by the network's answer, if there is one (GIVEN)."""
    if not block[at.GIVEN]:
        return
    gaps.synthesise(block, at.BRIDGE_NET, gap)
    made = gaps.array_of(block, MADE, at.BRIDGE_NET)
    bridge = array(block, BRIDGE_ROWS)
    for c in range(block[at.CHANNELS]):
        copy(made[c], bridge[c, :gap])
    block[BRIDGED_BY] = 1
