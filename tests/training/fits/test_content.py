"""Fitting what tells speech from music."""

import base64
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("soxr")
pytest.importorskip("torch")

from typer.testing import CliRunner

from plc.cli.app import app
from plc.predict.content import FEATURES, probability
from plc_kernels.content import WEIGHTS, WEIGHTS_STEP
from plc_training.fits import content
from plc_training.fits.content import Group
from tests.examples import is_deep
from tests.signals import tones
from tests.training.clips import RATE, write_clips, write_manifest


def test_a_regression_tells_two_kinds_apart() -> None:
    rng = np.random.default_rng(1)
    speech = np.arange(400) % 4 == 0
    found = rng.standard_normal((400, len(FEATURES)))
    found[:, 2] += 4.0 * speech
    share = np.where(speech, 0.5 / speech.sum(), 0.5 / (~speech).sum())
    model = content.fitted(found, speech, share)
    assert ((probability(model, found) > 0.5) == speech).mean() > 0.95
    # The feature that tells them apart has the largest weight.
    assert np.argmax(np.abs(model[2, : len(FEATURES)])) == 2


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few are enough for what is easily told apart."""
    if not is_deep():
        monkeypatch.setattr(content, "_STEPS", 60)


def test_streams_are_heard_under_losses() -> None:
    rng = np.random.default_rng(4)
    clip = rng.standard_normal(8 * content.RATE).astype(np.float32)
    heard = [content.heard(clip, 0, np.random.default_rng(5)) for _ in range(2)]
    assert 300 < len(heard[0][0]) < 390  # a tenth is lost of 400 frames
    assert all(len(each) < 390 for each in heard[0])
    np.testing.assert_array_equal(heard[0][1], heard[1][1])
    assert [len(each) for each in content.heard(clip[:100], 0, rng)] == [0, 0, 0]


def test_the_kernel_has_the_weights_that_are_printed() -> None:
    network = content.ContentNetwork()
    packed = network.packed()
    assert packed.size == WEIGHTS.size
    found: dict[str, bytes] = {}
    exec(content.text_of(network), found)
    read = np.frombuffer(base64.b85decode(found["PACKED"]), np.int8)
    np.testing.assert_array_equal(read, packed)
    first = network.state_dict()["hear.weight_ih_l0"][:, 0].numpy()
    step = float(WEIGHTS_STEP)
    np.testing.assert_allclose(step * read[: first.size], first, atol=step)


def test_a_telephone_lets_the_middle_through() -> None:
    seconds = np.arange(8000) / 8000
    low, middle, high = (np.sin(2 * np.pi * hz * seconds) for hz in (100, 1000, 3700))
    heard = content.through_a_telephone((low + middle + high).astype(np.float32), 8000)
    np.testing.assert_allclose(heard, middle, atol=1e-4)


def test_speech_counts_half_and_libraries_alike() -> None:
    groups = [Group(0, "speech", "train")] * 3 + [Group(1, "speech", "train")]
    groups += [Group(0, "music", "train")] * 2 + [Group(0, "music", "valid")]
    expected = [0.25 / 3] * 3 + [0.25] + [0.25] * 2 + [0.0]
    np.testing.assert_allclose(content.shares(groups), expected)
    both = content.shares([*groups, Group(0, "instruments", "train")])
    np.testing.assert_allclose(both[4:], [0.125, 0.125, 0.0, 0.25])
    assert both.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("domain", ["music", "speech", "any"])
def test_one_kind_is_refused_in_one_line(tmp_path: Path, domain: str) -> None:
    write_clips(tmp_path, 2)
    write_manifest(tmp_path, [(f"clip{k}.wav", domain, "train") for k in range(2)])
    paths = ["--data", str(tmp_path), "--cache", str(tmp_path / "cache")]
    ended = CliRunner().invoke(app, ["train", "content", *paths])
    assert ended.exit_code == 1
    said = ended.output.strip().splitlines()[-1]
    assert "expected clips of speech and of music or instruments" in said
    assert said.endswith("none" if domain == "any" else domain)


@pytest.mark.usefixtures("few_steps")
def test_the_command_prints_a_model_and_its_errors(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = []
    for k in range(8):
        domain, split = ("speech", "music")[k % 2], "valid" if k > 5 else "train"
        x = tones(k, RATE, 2 * RATE)
        if domain == "speech":
            loudness = np.repeat(rng.uniform(0.0, 0.1, 20), RATE // 10)
            x = (loudness * rng.standard_normal(2 * RATE)).astype(np.float32)
        soundfile.write(tmp_path / f"c{k}.wav", x, RATE)
        rows.append((f"c{k}.wav", domain, split))
    write_manifest(tmp_path, rows)
    paths = ["--data", str(tmp_path), "--cache", str(tmp_path / "cache")]
    said = CliRunner().invoke(app, ["train", "content", *paths])
    assert said.exit_code == 0, said.output
    assert "speech, 0.128 s on either side: 0.0" in said.output
    assert "music, 8 s on either side: 0.0" in said.output
    assert "speech, 0.128 s on either side, 8 kHz: 0.0" in said.output
    assert "speech, in a stream: 100.0% speech" in said.output
    assert "music, in a stream: 0.0% speech" in said.output
    assert said.output.count("[[") == 2
    assert "PACKED = (" in said.output
