"""Fitting what tells speech from music."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("soxr")

import typer
from typer.testing import CliRunner

from plc.content import FEATURES, expanded
from plc_training import content
from tests.signals import tones
from tests.training.clips import RATE, write_manifest


def test_a_regression_tells_two_kinds_apart() -> None:
    rng = np.random.default_rng(1)
    speech = np.arange(400) % 4 == 0
    found = rng.standard_normal((400, len(FEATURES)))
    found[:, 2] += 4.0 * speech
    share = np.where(speech, 0.5 / speech.sum(), 0.5 / (~speech).sum())
    model = content.fitted(found, speech, share)
    inputs = (expanded(found) - model[0, :-1]) / model[1, :-1]
    evidence = inputs @ model[2, :-1] + model[2, -1]
    assert ((evidence > 0.0) == speech).mean() > 0.95
    # The feature that tells them apart has the largest weight, and more speech needs less of it.
    assert np.argmax(np.abs(model[2, : len(FEATURES)])) == 2


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
    app = typer.Typer()
    app.command()(content.fit)
    said = CliRunner().invoke(app, ["--data", str(tmp_path), "--cache", str(tmp_path / "cache")])
    assert said.exit_code == 0, said.output
    assert "speech, 0.128 s on either side: 0.0" in said.output
    assert "music, 8 s on either side: 0.0" in said.output
    printed = said.output[said.output.index("[[") :].split("]]")[0]
    numbers = printed.replace("[", " ").replace("]", " ").replace(",", " ").split()
    assert len(numbers) == 3 * (2 * len(FEATURES) + 1)
