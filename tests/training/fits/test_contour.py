"""Training what expects a voice's pitch."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from plc.programs.cli.app import app
from plc_kernels.signal.contour import FEATURES, POINTS, ContourModel, expect
from plc_training.fits import contour
from plc_training.train.display import Display
from tests.options import options, ran
from tests.signals import voice
from tests.training.clips import RATE, write_clips, write_manifest


def clip(seed: int, seconds: float = 1.0) -> NDArray[np.float32]:
    """Return a voice whose pitch goes on falling, or rising, as it did."""
    rng = np.random.default_rng(seed)
    return voice(RATE, seconds, rng.uniform(90.0, 220.0), rng.uniform(-1.0, 1.0), seed)


def test_places_tell_what_came() -> None:
    for per_second in (0.5, -0.5):
        features, points = contour.places_of(voice(RATE, 1.0, 120.0, per_second))
        assert features.shape == (len(points), FEATURES)
        assert len(points) > 50
        steps = np.nanmedian(np.diff(points, axis=1), axis=0)
        np.testing.assert_allclose(steps, per_second * 0.01, rtol=0.1)


def test_the_kernel_says_what_was_trained() -> None:
    parts = [contour.places_of(clip(seed)) for seed in range(6)]
    features, points = (np.concatenate(each) for each in zip(*parts, strict=True))
    network = contour.fitted(features, points, 300, Display())
    with torch.no_grad():
        said = network(torch.from_numpy(features)).numpy()
    model = network.exported()
    found = np.zeros(POINTS, np.float32)
    work = np.zeros((2, 96), np.float32)
    for row, expected in zip(features[::20], said[::20], strict=True):
        expect(row, model, work, found)
        np.testing.assert_allclose(found, np.clip(expected, -0.4, 0.4), atol=5e-3)
    stays = contour.cents(np.zeros_like(points), points)
    learned = contour.cents(said, points)
    assert learned[3][0] < 0.5 * stays[3][0]


def test_the_command_writes_a_network_and_its_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contour, "_STEPS", 20)
    for k in range(4):
        soundfile.write(tmp_path / f"c{k}.wav", clip(k), RATE)
    splits = ["train", "train", "train", "valid"]
    write_manifest(tmp_path, [(f"c{k}.wav", "speech", splits[k]) for k in range(4)])
    out = tmp_path / "made.npz"
    given = options(data=tmp_path, out=out)
    ended = ran(app, "train", "fit", "contour", *given)
    assert "stays: " in ended.stdout
    assert "expected: " in ended.stdout
    with np.load(out, allow_pickle=False) as arrays:
        assert set(arrays.files) == set(ContourModel._fields)
        assert arrays["leave"].shape[0] == POINTS


def test_a_library_without_a_voice_is_refused_in_one_line(tmp_path: Path) -> None:
    write_clips(tmp_path, 2)
    write_manifest(tmp_path, [(f"clip{k}.wav", "music", "train") for k in range(2)])
    given = options(data=tmp_path)
    ended = ran(app, "train", "fit", "contour", *given, status=1)
    assert "no pitch was found in clips of speech" in ended.stderr
