"""Bridges that follow the pitch: nearer the voice, and as before where there is none."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import Concealer
from plc.engine.predict import contour_model as module
from plc.engine.predict.contour_model import contour_model
from plc.engine.predict.expected_contour import ContourBridge
from plc.engine.predict.ladder import Rung
from plc.engine.predict.linear import ArFiller
from plc.engine.predict.played_history import History
from plc.engine.predict.sides import bridged_along_the_pitch
from plc.errors import ModelError
from tests.signals import noise, voice


def history_of(x: NDArray[np.float32], samples: int) -> History:
    history = History(x.shape[0], samples)
    history.append(x, trusted=True)
    return history


def error_db(made: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    return 10.0 * float(np.log10(np.mean((made - truth) ** 2) / np.mean(truth**2)))


def bridged(
    x: NDArray[np.float32], rate: int, start: int, gap: int, known: int, follow: bool
) -> tuple[NDArray[np.float32], tuple[bool, ...]]:
    """Return a gap filled from both sides, shape (channels, gap), and which channels follow."""
    channels = x.shape[0]
    reach = max(gap, known)
    contour = ContourBridge(rate, channels, gap)
    ar = ArFiller(rate, channels, Rung(15.0, 30.0), reach)
    history = history_of(x[:, :start], max(ar.past_samples, contour.past_samples))
    ar.begin(history)
    out = np.full((channels, gap), np.nan, np.float32)
    after = np.ascontiguousarray(x[:, start + gap : start + gap + known])
    assert ar.bridge(history, after, out, contour if follow else None)
    return out, contour.followed


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize(("hertz", "per_second"), [(110.0, 1.0), (210.0, -0.8)])
def test_a_bridge_follows_a_pitch_that_moves(rate: int, hertz: float, per_second: float) -> None:
    x = voice(rate, 0.6, hertz, per_second)
    start, gap = round(0.4 * rate), round(0.04 * rate)
    truth = x[start : start + gap]
    bent, level = (
        bridged(x[None], rate, start, gap, round(0.02 * rate), follow)[0][0]
        for follow in (True, False)
    )
    assert error_db(bent, truth) < error_db(level, truth) - 2.0


def test_a_bridge_without_a_pitch_is_as_it_was() -> None:
    for x in (noise(1, 12_000), np.zeros(12_000, np.float32)):
        follows, plain = (bridged(x[None], 16_000, 8000, 640, 320, f)[0] for f in (True, False))
        np.testing.assert_array_equal(follows, plain)


def test_channels_are_bridged_as_if_alone() -> None:
    rate = 16_000
    both = np.stack([voice(rate, 0.6, 120.0, 0.7), noise(2, 9600)])
    made, followed = bridged(both, rate, 8000, 640, 320, True)
    assert followed == (True, False)
    apart = [bridged(channel[None], rate, 8000, 640, 320, True)[0][0] for channel in both]
    np.testing.assert_array_equal(made, np.stack(apart))


def test_a_bridge_meets_both_sides() -> None:
    x = voice(16_000, 0.6, 120.0, 1.0)
    made = bridged(x[None], 16_000, 8000, 640, 320, True)[0][0]
    steepest = np.abs(np.diff(x)).max()
    assert abs(made[0] - x[7999]) < 1.2 * steepest
    assert abs(made[-1] - x[8640]) < 1.2 * steepest


def test_no_pitch_is_followed_through_a_gap_of_a_tenth_of_a_second() -> None:
    x = voice(16_000, 0.8, 120.0, 0.0)
    made, followed = bridged(x[None], 16_000, 8000, 1600, 320, True)
    assert followed == (False,)
    np.testing.assert_array_equal(made, bridged(x[None], 16_000, 8000, 1600, 320, False)[0])


@pytest.mark.parametrize(("before", "after"), [(8000, 96), (200, 320), (1, 320), (8000, 1)])
def test_a_little_on_either_side_is_enough_to_be_sound(before: int, after: int) -> None:
    x = voice(16_000, 0.6, 120.0, 0.5)
    sides = x[:before], x[before + 640 : before + 640 + after]
    made = bridged_along_the_pitch(*sides, 640, 16_000)
    assert made is None or np.isfinite(made).all()
    if min(before, after) < 96:
        assert made is None


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "shape", "nan", "field"])
def test_a_damaged_file_is_a_clear_error_and_no_stream_without_it_notices(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = contour_model()._asdict()
    if damage == "shape":
        arrays["leave"] = arrays["leave"][:-1]
    elif damage == "nan":
        arrays["scale"] = np.full_like(arrays["scale"], np.nan)
    elif damage == "field":
        del arrays["middle"]
    path = tmp_path / "contour.npz"
    np.savez(path, **arrays)
    if damage == "missing":
        path.unlink()
    elif damage in ("empty", "cut"):
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else 9000])
    monkeypatch.setattr(module, "_FILE", str(path))
    contour_model.cache_clear()
    try:
        with pytest.raises(ModelError, match=r"contour\.npz"):
            ContourBridge(16_000, 1, 960)
        assert Concealer(16_000, 1, 320, model="ar").push(None).shape == (320, 1)
    finally:
        contour_model.cache_clear()
