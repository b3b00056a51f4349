"""The task of streams that wait: what its segments hold, what it shows, and what it judges."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import plc
from plc.engine.loss import GilbertElliott
from plc.engine.networks.flat import BRIDGE_DRAFTS
from plc.engine.spans import gaps_of
from plc_kernels.stream.bridge import BRIDGED_BY
from plc_kernels.stream.gap import LINES, START
from plc_kernels.stream.layout import BRIDGE_NET, FLUX_DB
from plc_training.data.segments import BridgePlan, Segments
from plc_training.tasks.bridge import BridgeSettings, BridgeTask
from tests.signals import glide, voice

RATE = 16_000
PACKET = 320
PLAN = BridgePlan(
    sample_rate=RATE,
    packet_ms=20.0,
    lookaheads=(1, 2),
    played_ms=40.0,
    loss=0.15,
    burst=1.6,
    margin=1280,
    beyond=720,
    rung=(15.0, 30.0),
    domains=("speech",),
)
SETTINGS = BridgeSettings(
    bin_hz=50.0,
    context_frames=4,
    channels=(4, 6),
    gru=8,
    lsd=0.1,
    mel=1.0,
    log_mel=0.5,
    nmse=0.1,
    level=0.01,
)


def clip() -> NDArray[np.float32]:
    return glide(5, RATE, 6 * RATE)


def inside(start: int, x: NDArray[np.float32]) -> bool:
    return PLAN.margin <= start <= x.size - PLAN.horizon - PLAN.beyond


def played_of(
    x: NDArray[np.float32], lookahead: int, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Return a clip's losses, and how it is played without a contour."""
    trace = GilbertElliott(PLAN.loss, PLAN.burst).trace(x.size // PACKET, int(rng.integers(2**31)))
    stream: dict[str, Any] = {"sample_rate": RATE, "packet_samples": PACKET}
    stream["method"] = "burg:15/30"
    return trace, plc.conceal(x, trace, lookahead=lookahead, **stream)


def drafts_of_the_engine(
    x: NDArray[np.float32], trace: NDArray[np.bool_], lookahead: int
) -> dict[int, NDArray[np.float32]]:
    """Return by the gaps' first samples what the package's network for bridges is shown."""
    stream = plc.Concealer(
        RATE, 1, PACKET, lookahead, content="speech", budget_ms=float("inf"), prepare="never"
    )
    memory, found = stream._memory, {}
    rows, first = memory.array(BRIDGE_NET + LINES), int(memory.block[BRIDGE_NET + START])
    for k, gone in enumerate(trace):
        memory.numbers[FLUX_DB] = 9.0  # unsteady, as all that is speech
        memory.block[BRIDGED_BY] = 0
        stream.push(None if gone else x[k * PACKET :][:PACKET, None])
        if memory.block[BRIDGED_BY]:
            found[(k - lookahead) * PACKET] = rows[:, first:].copy()
    return found


def cut() -> list[tuple[NDArray[np.float32], int]]:
    return list(PLAN.cut(clip(), "speech", np.random.default_rng(3)))


def test_drafts_that_follow_the_pitch_are_nearer_a_voice() -> None:
    """The bridge of linear prediction at a constant pitch is further from it."""
    x, rng = voice(RATE, 3.0, 320.0, 0.4), np.random.default_rng(3)
    made = iter(PLAN.cut(x, "speech", np.random.default_rng(3)))
    ratios = []
    for lookahead in PLAN.lookaheads:
        trace, level = played_of(x, lookahead, rng)
        for begin, end in gaps_of(trace, PACKET):
            start = max(begin, end - lookahead * PACKET)
            if start - begin > 640 or not inside(start, x):
                continue
            lines, gap = next(made)
            assert lines.shape == (4, PLAN.samples)
            if start == begin:
                hole = slice(PLAN.margin, PLAN.margin + gap)
                bent = np.sum((lines[3, hole] - lines[0, hole]) ** 2)
                ratios.append(bent / np.sum((level[start:end] - lines[0, hole]) ** 2))
    assert PLAN.lines == ("truth", *BRIDGE_DRAFTS)
    assert np.median(ratios) < 0.6


def segments() -> Segments:
    made = cut()
    lines = np.stack([lines for lines, _ in made])
    peaks = np.abs(lines).max(axis=(1, 2))
    scaled = np.rint(lines * (30_000 / peaks)[:, None, None]).astype(np.int16)
    gaps = np.array([gap for _, gap in made], np.int32)
    return Segments(scaled, gaps, peaks, np.full(len(made), 2, np.uint8))


@pytest.fixture(scope="module")
def task() -> BridgeTask:
    return BridgeTask(PLAN, SETTINGS, segments(), segments())


def test_segments_are_what_a_stream_with_lookahead_plays() -> None:
    """The drafts are those that the engine improves, its rung and its past the same."""
    x, rng = clip(), np.random.default_rng(3)
    made = iter(cut())
    for lookahead in PLAN.lookaheads:
        trace, _ = played_of(x, lookahead, rng)
        engines = drafts_of_the_engine(x, trace, lookahead)
        seen = late = 0
        for begin, end in gaps_of(trace, PACKET):
            start = max(begin, end - lookahead * PACKET)
            gap = end - start
            if start - begin > 640 or not inside(start, x):
                continue
            late += start > begin
            lines, of_gap = next(made)
            stop = PLAN.margin + gap
            assert of_gap == gap
            truth = x[start : start + PLAN.samples - PLAN.margin]
            np.testing.assert_array_equal(lines[0, PLAN.margin :], truth)
            known = 0
            while known < (lookahead + 1) * PACKET - gap and not trace[(end + known) // PACKET]:
                known += PACKET
            assert known
            following = slice(stop, stop + known)
            for draft in lines[1:]:
                np.testing.assert_array_equal(draft[: PLAN.margin], lines[0, : PLAN.margin])
                np.testing.assert_array_equal(draft[following], lines[0, following])
                assert (draft[stop + known :] != lines[0, stop + known :]).any()
            if not seen and start == begin:
                # What the stream plays before it is the same for either method.
                expected = engines[start][:, :gap]
                np.testing.assert_allclose(lines[1:, PLAN.margin : stop], expected, atol=1e-5)
            seen += 1
        assert seen > 5
        assert late or lookahead == 2
    assert next(made, None) is None


def test_what_is_shown_is_what_the_network_takes(task: BridgeTask) -> None:
    batch = task.batch(3, np.random.default_rng(0))
    spectra, lost = task.inputs(batch)
    # 40 ms are eight hops, three frames more touch them, and one lies behind.
    assert spectra.shape == (3, 3, 2, 161, 4 + 11 + 1)
    assert float(lost[:, :4].max()) == 0.0
    assert float(lost[:, -1].max()) == 0.0
    assert bool((lost[:, 4:8] > 0.0).all())
    assert task.make_network()(spectra, lost).shape == (3, 2, 161, 11)
