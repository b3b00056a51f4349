"""Training what tells damage from sound."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from plc.errors import ConfigError
from plc.restore.detect.judge import judge_of
from plc_training import restore
from plc_training.data.library import Clip, find_libraries
from tests.signals import glide, tones
from tests.training.clips import write_manifest

RATE = 44_100


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Write a clip and its manifest."""
    clip = tones(1, RATE, 7 * RATE) + glide(2, RATE, 7 * RATE)
    soundfile.write(tmp_path / "clip.flac", clip, RATE)
    write_manifest(tmp_path, [("clip.flac", "music", "train")])
    return tmp_path


def test_examples_have_the_features_that_the_package_s_networks_take(library: Path) -> None:
    clip: Clip = find_libraries([library])[0][0]
    rows, seconds = restore.examples((0, clip))
    assert seconds == pytest.approx(7.0, abs=0.05)
    assert {kind for kind, _, is_damage in rows if is_damage} >= {"dip", "repeat"}
    for kind, features, _ in rows:
        assert features.shape == judge_of(kind).mean.shape[1:]


def test_the_same_seed_makes_the_same_examples(library: Path) -> None:
    clip = find_libraries([library])[0][0]
    first, second = (restore.examples((0, clip))[0] for _ in range(2))
    assert [row[0] for row in first] == [row[0] for row in second]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one[1], other[1])


def test_too_few_examples_are_refused(library: Path) -> None:
    with pytest.raises(ConfigError, match="too few candidates of dip"):
        restore.fit([library], library / "out.npz")
    assert not (library / "out.npz").exists()
