import csv
import hashlib
from pathlib import Path

import pytest
import soundfile

from plc.errors import ConfigError
from plc_bench.base.corpus import find_named_clips
from plc_training.data.library import find_library

DATA = Path(__file__).parents[2] / "bench" / "data"
MOST_BYTES = 20_000_000

if not DATA.exists():
    pytest.skip("the sdist carries no recordings", allow_module_level=True)


def rows() -> list[dict[str, str]]:
    with (DATA / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_clip_is_in_the_manifest_as_it_was_published() -> None:
    listed = {row["path"]: row for row in rows()}
    clips = find_named_clips([DATA])
    assert {clip.name for clip in clips} == set(listed)
    for clip in clips:
        row = listed[clip.name]
        assert hashlib.sha256(clip.path.read_bytes()).hexdigest() == row["sha256"]
        assert clip.domain == row["domain"]
        info = soundfile.info(clip.path)
        assert (info.samplerate, info.channels) == (int(row["sample_rate"]), 1)
        assert info.duration == pytest.approx(float(row["duration_s"]), abs=1e-3)


def test_every_clip_has_a_source_a_licence_and_its_attribution() -> None:
    page = (DATA / "README.md").read_text(encoding="utf-8")
    for row in rows():
        package = row["source"].removeprefix("Debian ").partition(" ")[0]
        assert row["source"].startswith("Debian ")
        assert package in page
        assert row["licence"].partition(" ")[0] in page
        assert row["note"]
        assert list((DATA / "LICENCES").glob(f"debian-{package}*"))


def test_the_set_stays_small() -> None:
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < MOST_BYTES


def test_nothing_of_it_can_be_trained_on() -> None:
    with pytest.raises(ConfigError, match="holds no audio of the splits train and valid"):
        find_library(DATA)
