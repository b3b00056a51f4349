"""Strokes of speech: the grid, the draft that is improved, and what is left alone."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import inpaint
from plc.engine.models.manifest import Manifest
from plc.engine.networks.gap_filler import Hints
from plc.engine.runtime.providers import Signature
from plc.errors import ConfigError, ModelError
from plc.papers import stroke
from plc.papers.stroke import BINS, FRAMES, StrokeFiller, open_filler
from tests.examples import some
from tests.signals import tones

RATES = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


class Oracle:
    """A network that knows the magnitudes of a signal, and keeps what it was shown."""

    def __init__(self, truth: NDArray[np.float32] | None = None) -> None:
        self.truth = truth
        self.patch = np.zeros((BINS, FRAMES), np.float32)
        self.lost = np.zeros(FRAMES, np.bool_)

    def __call__(
        self, patch: NDArray[np.float32], lost: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        self.patch, self.lost = patch[0, 0].copy(), lost[0] > 0
        return patch if self.truth is None else self.truth[None, None]


def hints(row: NDArray[np.float32]) -> Hints:
    return Hints(np.ones(row.size, np.bool_))


def patch_of(x: NDArray[np.float32], first: int, hop: int) -> NDArray[np.float32]:
    """Return 64 columns from a sample on, by the definition, shape (64, 64)."""
    window = 0.5 - 0.5 * np.cos(np.pi * np.arange(2 * hop) / hop)
    rounded = np.rint(x.astype(np.float64) * 32768.0)
    out = np.full((BINS, FRAMES), -1.7)
    for k in range(FRAMES):
        frame = rounded[first + k * hop : first + (k + 2) * hop] * window
        magnitude = np.abs(np.fft.rfft(frame))[:BINS] / window.sum()
        out[: magnitude.size, k] = (np.log(np.maximum(magnitude, 1e-3)) - 0.4385) / 2.4214
    return out.astype(np.float32)


def damaged(rate: int, gap_ms: float, seed: int = 0) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Return half a second, and a gap in its middle."""
    x = tones(seed, rate, rate // 2)
    start = rate // 4
    return x, (start, start + round(gap_ms * rate / 1000.0))


@some("rate", RATES, 2)
@some("gap_ms", [32.0, 64.0], 2)
def test_the_network_sees_the_columns_around_the_gap(rate: int, gap_ms: float) -> None:
    x, (start, stop) = damaged(rate, gap_ms)
    hop = round(rate / 375.0)
    network = Oracle()
    filler = StrokeFiller(network, rate, linear=False)
    assert filler.fill(x, (start, stop)) is not None
    lost = np.flatnonzero(network.lost)
    # Those that touch the gap, in the middle.
    first = start - hop - lost[0] * hop
    touching = [
        k for k in range(FRAMES) if start < first + (k + 2) * hop and first + k * hop < stop
    ]
    assert lost.tolist() == touching
    assert abs((lost[0] + lost[-1] + 1) / 2 - FRAMES / 2) <= 0.5
    expected = patch_of(x, first, hop)
    known = ~network.lost
    np.testing.assert_allclose(network.patch[:, known], expected[:, known], atol=2e-3)
    assert not network.patch[:, lost].any()


def test_a_network_of_corrections_sees_linear_interpolation() -> None:
    x, gap = damaged(24_000, 32.0)
    network = Oracle()
    StrokeFiller(network, 24_000, linear=True).fill(x, gap)
    lost = np.flatnonzero(network.lost)
    left, right = lost[0] - 1, lost[-1] + 1
    for k in lost:
        share = (k - left) / (right - left)
        expected = (1 - share) * network.patch[:, left] + share * network.patch[:, right]
        np.testing.assert_allclose(network.patch[:, k], expected, atol=1e-5)


def test_true_magnitudes_bring_a_draft_half_way_to_the_truth() -> None:
    rate = 24_000
    x, (start, stop) = damaged(rate, 40.0)
    lost = 16
    first = start - 64 - (FRAMES - lost) // 2 * 64
    truth = patch_of(x, first, 64)
    # A draft of the right phases that is 12 dB too quiet.
    draft = x.copy()
    draft[start:stop] *= 0.25
    fill = StrokeFiller(Oracle(truth), rate, linear=False).fill(draft, (start, stop))
    assert fill is not None
    inside = slice(200, -200)
    ratio = np.std(fill[inside]) / np.std(x[start:stop][inside])
    # The geometric mean of both levels.
    assert 20 * np.log10(ratio) == pytest.approx(-6.0, abs=0.5)
    # It meets what is known.
    assert abs(fill[0] - x[start - 1]) < 0.1
    assert abs(fill[-1] - x[stop]) < 0.1


def test_magnitudes_above_twelve_kilohertz_are_the_drafts() -> None:
    rate = 48_000
    n = np.arange(rate // 2)
    x = (0.1 * np.sin(2 * np.pi * 18_000.0 / rate * n)).astype(np.float32)
    gap = (12_000, 12_000 + 1536)
    loud = np.full((BINS, FRAMES), -1.7, np.float32)
    fill = StrokeFiller(Oracle(loud), rate, linear=False).fill(x, gap)
    assert fill is not None
    np.testing.assert_allclose(fill[200:-200], x[gap[0] : gap[1]][200:-200], atol=2e-3)


@some("rate", RATES, 2)
def test_silence_remains_silence(rate: int) -> None:
    x = np.zeros(rate // 2, np.float32)
    start = rate // 4
    loud = np.full((BINS, FRAMES), 2.0, np.float32)
    fill = StrokeFiller(Oracle(loud), rate, linear=True).fill(x, (start, start + rate // 20))
    assert fill is not None
    assert np.abs(fill).max() < 1e-6


def test_what_lies_outside_the_gap_is_left() -> None:
    x, (start, stop) = damaged(24_000, 32.0)
    row = x.copy()
    row[start:stop] *= 0.5
    filler = StrokeFiller(Oracle(), 24_000, linear=True)
    assert filler.refine(row, start, stop, row.size, hints(row))
    outside = np.ones(row.size, np.bool_)
    outside[start:stop] = False
    assert np.array_equal(row[outside], x[outside])
    assert not np.array_equal(row[start:stop], 0.5 * x[start:stop])


def test_gaps_too_long_or_too_near_an_end_keep_their_draft() -> None:
    rate = 24_000
    x = tones(0, rate, rate)
    filler = StrokeFiller(Oracle(), rate, linear=True)
    for start, stop, end in (
        (8000, 8000 + 1537, rate),
        (8000, 9000, 9000 + 9 * 64 - 1),
        (9 * 64 - 1, 1200, rate),
    ):
        row = x.copy()
        assert not filler.refine(row, start, stop, end, hints(row))
        assert np.array_equal(row, x)
    assert filler.refine(x.copy(), 9 * 64, 1200, rate, hints(x))
    assert filler.refine(x.copy(), 8000, 9000, 9000 + 9 * 64, hints(x))


def test_what_lies_beyond_what_is_known_is_not_looked_at() -> None:
    rate = 24_000
    x = tones(0, rate, rate)
    row, other = x.copy(), x.copy()
    other[9600:] = np.nan
    network = Oracle()
    filler = StrokeFiller(network, rate, linear=True)
    assert filler.refine(row, 8000, 8768, 9600, hints(row))
    first = network.patch
    assert filler.refine(other, 8000, 8768, 9600, hints(row))
    assert np.array_equal(first, network.patch)
    assert np.array_equal(row[8000:8768], other[8000:8768])
    # Columns that reach beyond are those before them.
    assert np.array_equal(first[:, -1], first[:, -2])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (np.zeros((BINS, 3), np.float32), "the network answers with shape"),
        (np.full((BINS, FRAMES), np.nan, np.float32), "the network answers with values that are"),
    ],
)
def test_an_answer_without_sense_is_refused(answer: NDArray[np.float32], said: str) -> None:
    x, gap = damaged(24_000, 32.0)
    with pytest.raises(ModelError, match=said):
        StrokeFiller(Oracle(answer), 24_000, linear=True).fill(x, gap)


def manifest(**changes: object) -> Manifest:
    fields: dict[str, object] = {
        "format": 1,
        "name": "strokes",
        "kind": "stroke",
        "content": "speech",
        "sha256": "0" * 64,
        "bytes": 1,
        "bin_hz": 187.5,
        "top_hz": 11_812.5,
        "drafts": ["linear"],
        "context_frames": 8,
        "context_frames_after": 8,
        "horizon_ms": 64.0,
        "sample_rates": [16_000, 48_000],
        "parameters": 1,
        "opset": 20,
        "licence": "MIT",
        "training": {},
        "figures": {},
        "created_by": "plc",
    }
    return Manifest.from_fields(fields | changes, Path("strokes.json"))


def test_a_model_with_other_drafts_is_refused() -> None:
    with pytest.raises(ConfigError, match="takes the drafts forward; expected linear or none"):
        open_filler([manifest(drafts=["forward"])], 24_000)


def test_the_packages_model_is_refused_at_other_rates() -> None:
    x = tones(0, 8_000, 8_000)
    with pytest.raises(ConfigError, match="for 16000 to 48000 Hz, the recording has 8000 Hz"):
        inpaint(x, [(4000, 4100)], sample_rate=8_000, model="unet-speech")


def test_the_signature_is_that_of_the_graph() -> None:
    expected = Signature(
        (("patch", (2, 1, 64, 64)), ("lost", (2, 64))), ("restored", (2, 1, 64, 64))
    )
    assert stroke.stroke_signature(2) == expected
