import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from plc.errors import ConfigError
from plc_bench.base.corpus import find_named_clips
from plc_bench.base.rows import OWN_DECODE
from plc_bench.cli import app
from plc_bench.quality import study
from plc_bench.quality.conditions import Condition
from plc_bench.quality.contenders import CommandPeer
from plc_bench.report import headline
from tests.signals import tones

RATE = 16_000


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> study.Study:
    """A study of two clips of music and one of speech by three methods."""
    for module in ("pystoi", "soxr"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("headline")
    for number, place in enumerate(("music/one.flac", "music/two.flac", "speech/three.flac")):
        path = folder / "clips" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tones(number, RATE, 2 * RATE), RATE)
    settings = study.StudySettings(
        methods=("repeat", "zeros", "burg@lookahead1", "g711", "broken"),
        peers={"broken": CommandPeer(command="/no/such/program {in} {trace} {out}")},
        metrics=("nmse", "lsd", "stoi"),
        conditions=(Condition(packet_ms=10.0),),
        excerpt_count=0,
    )
    return study.run(folder / "results", find_named_clips([folder / "clips"]), settings)


def test_the_page_has_a_column_for_each_domain_and_the_means_of_the_study(
    kept: study.Study,
) -> None:
    lines = headline.page([kept]).splitlines()
    heading = next(line for line in lines if line.startswith("| method"))
    assert heading == "| method | music (2): NMSE dB | music (2): LSD dB | speech (1): STOI |"
    rows = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    values = [
        row.scores["nmse"] for row in kept.rows if (row.method, row.domain) == ("repeat", "music")
    ]
    assert f"{np.mean(values):.2f}" in rows["repeat"]
    assert "| 0.00 |" in rows["zeros"].replace("*", "")
    assert "broken" not in rows
    assert "3 scores failed" in lines[-1]


def test_a_codec_is_shown_against_its_own_decode_alone(kept: study.Study) -> None:
    lines = [line for line in headline.page([kept]).splitlines() if "g711" in line]
    assert len(lines) == 1
    assert lines[0].startswith("| `g711` † |")
    own = [row.scores["nmse"] for row in kept.rows if row.method == "g711" + OWN_DECODE]
    assert f"{np.mean(own[:2]):.2f}" in lines[0]


def test_the_best_is_bold_and_waiting_does_not_count() -> None:
    column = ("music", "nmse")
    values = {"a": -5.0, "a@lookahead1": -9.0, "neteq (own decode)": -7.0, "b": math.nan}
    cells = {(method, column): headline._Mean(value, 4) for method, value in values.items()}
    cells["c", column] = headline._Mean(-6.0, 3)
    best = headline._best(cells, [*values, "c"], column, 4)
    assert best == -5.0
    assert headline._text(cells["a", column], "nmse", best, 4) == "**-5.00**"
    assert headline._text(cells["a@lookahead1", column], "nmse", best, 4) == "-9.00"
    assert headline._text(cells["b", column], "nmse", best, 4) == "-"


def test_a_mean_of_fewer_clips_says_so() -> None:
    mean = headline._Mean(-5.0, 3)
    assert headline._text(mean, "nmse", -5.0, 4) == "-5.00 (3 of 4)"


def test_the_path_of_a_library_is_left_out_of_a_name() -> None:
    assert headline._label("opus:24k:/opt/new opus/libopus.so.0") == "`opus:24k:libopus.so.0`"


def test_neteq_is_not_compared_sample_by_sample() -> None:
    row = study.Row(
        "a", "music", "c", "neteq", RATE, 1, 160, 1, 1, 1, {"nmse": 1.0, "fad": 2.0}, ()
    )
    assert headline._mean([row], "neteq", "music", "nmse").count == 0
    assert headline._mean([row], "neteq", "music", "fad") == headline._Mean(2.0, 1)


def test_the_command_writes_the_page_and_a_picture_of_each_study(
    kept: study.Study, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    result = CliRunner().invoke(app, ["headline", str(kept.folder), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert (tmp_path / "out" / "headline.md").read_text().startswith("# Headline")
    picture = (tmp_path / "out" / f"{kept.name}.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
    assert "headline.md" in result.stdout


def test_a_folder_without_a_study_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    arguments = ["headline", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigError)
    assert "holds no study" in str(result.exception)
    assert not (tmp_path / "out").exists()
