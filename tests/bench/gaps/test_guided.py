"""What other channels add to a fill is measured on gaps of the first one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from plc.errors import ConfigError
from plc_bench.gaps.guided import check, result_table, score_clip
from plc_bench.gaps.twosided import InpaintSettings
from tests.signals import noise, tones

RATE = 16_000
SETTINGS = InpaintSettings(methods=("ar",), gap_ms=20.0, gaps_per_clip=2)


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Return a clip whose channels are alike, one whose are not, and one of one channel."""
    source = 0.3 * noise(1, 2 * RATE)
    alike = np.stack([source, 0.5 * source + 0.002 * noise(2, 2 * RATE)], axis=1)
    unlike = np.stack([tones(1, RATE, 2 * RATE), 0.3 * noise(3, 2 * RATE)], axis=1)
    found = []
    for name, signal in (("alike", alike), ("mono", source), ("unlike", unlike)):
        found.append(tmp_path / f"{name}.wav")
        soundfile.write(found[-1], signal, RATE, subtype="FLOAT")
    return found


def test_channels_that_are_alike_gain_and_others_stay(clips: list[Path]) -> None:
    settings = [SETTINGS, replace(SETTINGS, gap_ms=10.0)]
    *two, mono = sorted(clips, key=lambda clip: clip.stem == "mono")
    with pytest.raises(ConfigError, match="give clips of two"):
        score_clip(mono, settings)
    gaps = [gap for clip in two for gap in score_clip(clip, settings)]
    assert len(gaps) == 8
    for gap in gaps:
        gain_db = gap.guided_db - gap.alone_db
        assert gain_db > 10.0 if gap.clip == "alike.wav" else gain_db == 0.0
        assert gap.guided_ms > 0.0 < gap.alone_ms
        assert gap.likeness > 0.99 if gap.clip == "alike.wav" else gap.likeness < 0.1
    table = result_table(gaps, settings)
    cells = [[cell.text for cell in column] for column in zip(*table.rows, strict=True)]
    assert cells[2] == ["alike.wav", "unlike.wav", "all"] * 2
    assert cells[8] == ["0"] * 6
    assert cells[9] == ["2", "0", "2"] * 2


@pytest.mark.parametrize(
    "settings", [replace(SETTINGS, methods=("janssen",)), replace(SETTINGS, hops_lost=0.5)]
)
def test_what_cannot_be_guided_is_refused(settings: InpaintSettings) -> None:
    with pytest.raises(ConfigError, match="one channel alone"):
        check(settings)
