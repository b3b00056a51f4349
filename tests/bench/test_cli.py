import json
import re
from pathlib import Path

import pytest
import soundfile
import typer
from rich.text import Text
from typer.testing import CliRunner

from plc.errors import ConfigError, ModelError, PlcError
from plc_bench import cli
from plc_bench.cli import app, main
from plc_bench.papers import probes
from plc_bench.peers import base as peers_base
from tests.options import options, ran
from tests.plc.engine.networks.test_encoder import write_context_encoder
from tests.signals import tones

RATE = 16_000


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    soundfile.write(path, tones(1, RATE, 2 * RATE), RATE)
    return path


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "120"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_quality_prints_a_table_and_writes_what_it_says(tmp_path: Path, clip: Path) -> None:
    numbers = tmp_path / "q.json"
    status, text = run("quality", clip, "--methods", "auto,zeros", "--save", numbers)
    assert status == 0
    assert "packets of 10 ms" in text
    assert text.count("┏") == 1  # of one clip the means say all
    report = json.loads(numbers.read_text())
    assert report["settings"]["methods"] == ["auto", "zeros"]
    assert report["rows"][0]["method"] == "auto"
    assert report["rows"][0]["scores"]["nmse"] < 0.0


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("inpaint", "CLIP", "--gap-ms", ""), "gap-ms is empty; give numbers"),
        (("latency", "--sample-rate", ""), "sample-rate is empty; give numbers"),
        (("quality", "CLIP", "--loss", "many"), "loss is many; give numbers"),
        (("quality", "CLIP", "--burst", "1,x"), "burst is 1,x; give numbers"),
        (("quality", "CLIP", "--loss", ","), "loss is ,; give numbers"),
        (("quality", "CLIP", "--packet-samples", "0"), "packets of 0 samples"),
        (("quality", "CLIP", "--coded", "opus"), "coded names opus, which no --peer does"),
        (
            ("quality", "CLIP", *2 * ("--peer", "p=x {in} {trace} {out}")),
            "two peers have one name: p, p",
        ),
    ],
)
def test_options_that_say_nothing_are_refused(
    clip: Path, arguments: tuple[str, ...], what: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(what)):
        run(*(clip if word == "CLIP" else word for word in arguments))


def test_a_reason_that_many_clips_share_is_said_once(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, tones(1, RATE, RATE), RATE)
    arguments = ["quality", str(tmp_path), "--methods", "ar@lookahead999", "--jobs", "1"]
    result = ran(app, *arguments, status=1)
    assert len(result.stderr.splitlines()) == 1
    assert "failed: ar@lookahead999 on a.wav (10pc-burst1.5-10ms) and 1 more: " in result.stderr


def test_inpaint_draws_a_curve_over_several_lengths(tmp_path: Path, clip: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "curve.png"
    arguments: list[str | Path] = [
        *("inpaint", clip, "--methods", "lpc,ar", "--gap-ms", "10,40", "--gaps-per-clip", "1")
    ]
    status, text = run(*arguments, "--picture", picture, "--save", tmp_path / "i.json")
    assert status == 0
    assert "over lpc" in text
    assert "over the length of the gap" in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [len(one["gaps"]) for one in json.loads((tmp_path / "i.json").read_text())] == [1, 1]
    for option in ("--picture", "--save"):
        kept = ran(app, *map(str, arguments), option, str(clip), status=1)
        assert f"{clip} exists; remove it" in str(kept.exception)
    assert clip.read_bytes().startswith(b"RIFF")
    lost = [*map(str, arguments), "--picture", str(tmp_path / "none" / "file.png")]
    result = CliRunner().invoke(app, lost)
    assert isinstance(result.exception, ConfigError)
    assert "method" in result.stdout  # the table all the same


def test_the_papers_tables_need_a_model(clip: Path) -> None:
    with pytest.raises(ModelError, match="cannot read"):
        run("papers", "context-encoder", clip, "--models", "/nowhere/model.json")


def test_the_papers_probes_need_no_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    model = write_context_encoder(tmp_path, is_complex=False, name="echo")
    monkeypatch.setattr(probes, "TONES", 2)
    monkeypatch.setattr(probes, "PHASES", 1)
    given = options(models=model, probe="tones,chirp")
    status, text = run("papers", "context-encoder", *given, "--json")
    assert status == 0
    saved = json.loads(text)
    assert saved["gaps"] == []
    assert [score["probe"] for score in saved["probes"]].count("over frequency") == 2


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ((), "nothing to fill; give clips, or --probe"),
        (("--probe", "tone"), "known: tones, chirp"),
    ],
)
def test_the_papers_experiments_are_asked_for_rightly(options: tuple[str, ...], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        run("papers", "context-encoder", *options)


def test_server_shows_a_row_for_each_method(clip: Path) -> None:
    status, shown = run(
        *("streams", "server", clip, "--streams", "2", "--seconds", "0.2"),
        *("--method", "server,burg:5/30", "--json"),
    )
    assert status == 0
    costs = json.loads(shown)["costs"]
    assert [cost["method"] for cost in costs] == ["server", "burg:5/30"]


def test_latency_takes_lists_and_names_what_fails(tmp_path: Path, clip: Path) -> None:
    numbers = tmp_path / "l.json"
    arguments = [
        *("latency", str(clip), "--sample-rate", "8000,11", "--method", "burg"),
        *("--seconds", "0.2", "--channels", "2"),
        *("--mode", "back-to-back", "--runs", "1"),
    ]
    result = ran(app, *arguments, "--save", str(numbers), status=1)
    assert "sample_rate is 11; supported" in result.stderr.replace("\n", " ")
    (row,) = json.loads(numbers.read_text())["rows"]
    assert row["times"]["good"]["count"] + row["times"]["concealed"]["count"] == 20
    again = CliRunner().invoke(app, [*arguments, "--compare", str(tmp_path / "none.json")])
    assert "is not what plc bench latency --save writes" in str(again.exception)


def test_soak_says_what_it_did() -> None:
    pytest.importorskip("psutil", reason="psutil is not installed")
    status, text = run("robust", "soak", "--packets", "500", "--json")
    assert status == 0
    assert json.loads(text)["packets"] == 500


def test_an_error_is_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["plc-bench", "quality", "/nowhere"])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 1
    captured = capsys.readouterr()
    assert captured.err.strip() == "error: /nowhere does not exist"
    assert not captured.out


def test_quality_with_a_folder_keeps_everything_and_goes_on(tmp_path: Path, clip: Path) -> None:
    out = tmp_path / "results"
    arguments: list[str | Path] = [
        *("quality", clip, "--methods", "burg,burg@lookahead1,ar", "--loss", "0.1,20%"),
        *("--out", out, "--metrics", "nmse,nmse_single,level", "--excerpts", "1"),
    ]
    status, text = run(*arguments)
    assert status == 0
    assert text.count("┏") == 2  # one for each condition; the rest is kept
    assert "Difference to burg" in (out / "summary.md").read_text()
    head, *lines = (out / "scores.csv").read_text().splitlines()
    assert head.endswith("packets,lost,bursts,method,unchanged,nmse,nmse_single,level")
    names = [line.split(",")[13] for line in lines]
    assert names == ["burg", "burg@lookahead1", "ar"] * 2
    again = CliRunner().invoke(app, list(map(str, arguments)))
    assert "6 scores were there, 0 to go" in again.stderr
    changed = CliRunner().invoke(app, [*map(str, arguments), "--seed", "1"])
    assert "seed is 0; now it is 1" in str(changed.exception)


def test_the_name_of_an_extra_is_not_taken_for_markup(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ConfigError("pip install './plc[gpu]' brings it")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == "error: pip install './plc[gpu]' brings it\n"


def test_a_failures_reason_is_not_taken_for_markup(
    monkeypatch: pytest.MonkeyPatch, clip: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConfigError("pip install './plc[gpu]' brings it")

    monkeypatch.setattr("plc_bench.quality.study.read_stream", fail)
    result = CliRunner().invoke(app, ["quality", str(clip), "--methods", "zeros", "--jobs", "1"])
    assert "'./plc[gpu]' brings it" in result.stderr.replace("\n", " ")


@pytest.mark.parametrize("command", sorted(typer.main.get_group(app).commands))
def test_help_shows_what_stands_in_brackets(command: str) -> None:
    # Rich takes [words] for markup, and leaves out what it does not know.
    for option in typer.main.get_group(app).commands[command].params:
        said = getattr(option, "help", None) or ""
        assert Text.from_markup(said).plain == said.replace("\\[", "[")


@pytest.mark.parametrize(
    ("methods", "what"),
    [
        ("zeros,nonsense", "method is 'nonsense'; known: auto"),
        ("zeros,burg:50/20", "method is 'burg:50/20'; at 48000 Hz the past may be"),
        ("auto@model=./none.json", "none.json"),
        ("auto@model=music-inpaint", "a stream needs one of causal"),
        ("zeros,opus:64k:loud", "'loud' is not understood"),
    ],
)
@pytest.mark.parametrize("keep", [False, True])
def test_a_mistyped_method_is_refused_before_anything_is_written(
    tmp_path: Path, clip: Path, methods: str, what: str, keep: bool
) -> None:
    out: list[str | Path] = ["--out", tmp_path / "results"] if keep else []
    with pytest.raises(PlcError, match=re.escape(what)) as refused:
        run("quality", clip, "--methods", methods, *out)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "results").exists()


def test_what_is_not_installed_fails_and_the_rest_goes_on(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    peers_base.load.cache_clear()
    out = tmp_path / "results"
    arguments = [*("quality", clip, "--methods", "zeros,opus", "--jobs", "1"), "--out", out]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    peers_base.load.cache_clear()
    assert result.exit_code == 1
    assert "failed: opus on clip.wav" in result.stderr
    assert "apt-get install libopus0" in result.stderr
    assert json.loads((out / "settings.json").read_text())["methods"] == ["zeros", "opus"]


@pytest.mark.parametrize(("columns", "widest"), [(None, 160), ("90", 90)])
def test_a_file_has_room_for_a_wide_table(
    monkeypatch: pytest.MonkeyPatch, clip: Path, columns: str | None, widest: int
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    metrics = "nmse,bands,lsd,mel,level,click,nmse_single,nmse_30ms,lsd_single,lsd_30ms,mel_single"
    arguments = ["quality", str(clip), "--methods", "zeros,repeat", "--metrics", metrics]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": columns} if columns else {})
    assert result.exit_code == 0
    assert 80 < max(map(len, result.stdout.splitlines())) <= widest


def test_a_clip_that_no_method_can_read_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    arguments = ["quality", str(tmp_path), "--methods", "zeros,repeat", "--jobs", "1"]
    result = ran(app, *arguments, status=1)
    assert not result.stdout
    assert len(result.stderr.splitlines()) == 1
    assert "failed: zeros, repeat on bad.wav" in result.stderr
