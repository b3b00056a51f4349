"""Fitting what tells speech from music."""

import base64
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from plc.programs.cli.app import app
from plc_kernels.signal.content import BANDS, WEIGHTS, WEIGHTS_STEP
from plc_training.fits import content
from tests.examples import is_deep
from tests.options import options, ran
from tests.signals import tones
from tests.training.clips import RATE, write_clips, write_manifest


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few are enough for what is easily told apart."""
    if not is_deep():
        monkeypatch.setattr(content, "_STEPS", 150)


def test_streams_are_heard_under_losses() -> None:
    rng = np.random.default_rng(4)
    clip = rng.standard_normal(8 * content.RATE).astype(np.float32)
    heard = [content.heard(clip, 0, np.random.default_rng(5)) for _ in range(2)]
    assert 300 < len(heard[0][0]) < 390  # a tenth is lost of 400 frames
    assert all(len(each) < 390 for each in heard[0])
    np.testing.assert_array_equal(heard[0][1], heard[1][1])
    assert [len(each) for each in content.heard(clip[:100], 0, rng)] == [0, 0, 0, 0]
    # Nothing is above 4 kHz in the last.
    top = [each[:, BANDS - 4 : BANDS].max() for each in heard[0]]
    assert top[-1] < -1.0 < min(top[:-1])


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


def test_a_narrow_band_ends_as_that_of_a_telephone() -> None:
    seconds = np.arange(content.RATE) / content.RATE
    low, middle, high = (np.sin(2 * np.pi * hz * seconds) for hz in (100, 1000, 4100))
    for seed in range(4):
        signal = (low + middle + high).astype(np.float32)
        narrow = content._narrowed(signal, np.random.default_rng(seed))
        kept = middle if np.abs(narrow - middle).max() < 0.5 else low + middle
        np.testing.assert_allclose(narrow, kept, atol=1e-3)


@pytest.mark.parametrize("domain", ["music", "speech", "any"])
def test_one_kind_is_refused_in_one_line(tmp_path: Path, domain: str) -> None:
    write_clips(tmp_path, 2)
    write_manifest(tmp_path, [(f"clip{k}.wav", domain, "train") for k in range(2)])
    paths = options(data=tmp_path)
    ended = ran(app, "train", "fit", "content", *paths, status=1)
    said = ended.output.strip().splitlines()[-1]
    assert "expected clips of speech and of music or instruments" in said
    assert said.endswith("none" if domain == "any" else domain)


@pytest.mark.usefixtures("few_steps")
def test_the_command_prints_weights_and_what_they_tell(tmp_path: Path) -> None:
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
    paths = options(data=tmp_path)
    said = ran(app, "train", "fit", "content", *paths)
    for band in ("stream", "narrow band"):
        assert f"speech, in a {band}: 100.0% speech" in said.output
        music = re.search(rf"music, in a {band}: ([\d.]+)% speech", said.output)
        assert music is not None
        # The first frames of a stream, of which nothing is known, count little in the training.
        assert float(music[1]) <= 2.0
    assert "PACKED = (" in said.output
