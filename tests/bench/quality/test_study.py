import csv
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc_bench.base.corpus import Clip, find_named_clips
from plc_bench.base.rows import OWN_DECODE
from plc_bench.quality import excerpts, stream, study, summary
from plc_bench.quality.conditions import Condition
from plc_bench.quality.contenders import CommandPeer
from plc_bench.quality.study import StudySettings
from tests.signals import tones

RATE = 8_000
# Methods without a fit to make: what is tested here is the bookkeeping.
METHODS = ("zeros", "repeat")
LOSSY = Condition(loss=0.2, mean_burst=2.0)


def write_clips(folder: Path, *names: str, samples: int = RATE) -> list[Clip]:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tones(number, RATE, samples), RATE, subtype="FLOAT")
    return find_named_clips([folder])


def settings(**changes: Any) -> StudySettings:
    return replace(
        StudySettings(
            methods=METHODS,
            conditions=(LOSSY,),
            metrics=("nmse", "nmse_single", "level", "zeros"),
            excerpt_count=1,
            excerpt_s=0.5,
        ),
        **changes,
    )


def peer(code: str, **options: Any) -> CommandPeer:
    """Return a peer that runs a line of Python on what it is given."""
    head = "import sys,os,soundfile,numpy as np; x,r=soundfile.read(sys.argv[1],always_2d=True); "
    places = "{in} {trace} {out}"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(head + code)} {places}"
    return CommandPeer(command=command.replace("{{", "{"), **options)


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    return write_clips(tmp_path / "data", "music/test/a.wav", "speech/test/b.wav")


def test_a_study_scores_every_clip_under_every_condition_by_every_method(
    tmp_path: Path, clips: list[Clip]
) -> None:
    conditions = (LOSSY, Condition(loss=0.1, packet_ms=20.0))
    result = study.run(tmp_path / "out", clips, settings(conditions=conditions))
    assert len(result.rows) == 2 * 2 * 2
    assert not result.missing
    for row in result.rows:
        assert row.domain == {"a": "music", "b": "speech"}[Path(row.clip).stem]
        assert sum(gap.count for gap in row.gaps) == row.bursts
        assert sum(gap.count * gap.packets for gap in row.gaps) == row.lost
        if row.method == "zeros":
            assert row.scores["nmse"] == 0.0
            assert all(gap.scores["nmse"] == 0.0 for gap in row.gaps)
    by_method = {row.method: row for row in result.rows if row.clip.endswith("a.wav")}
    assert by_method["repeat"].lost == by_method["zeros"].lost


def test_what_is_there_is_not_computed_again(
    tmp_path: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    first = study.run(folder, clips, settings())
    journal = folder / study.JOURNAL_FILE
    lines = journal.read_text().splitlines(keepends=True)
    # As if killed in the middle of the last line, with the one before it never written.
    journal.write_text("".join(lines[:-2]) + lines[-1][:40])
    played: list[str] = []
    real = stream.play

    def counting(player: Any, stream: Any) -> Any:
        played.append(player.method)
        return real(player, stream)

    monkeypatch.setattr(study, "play", counting)
    counts: list[tuple[int, int]] = []
    again = study.run(
        folder, clips, settings(), on_start=lambda todo, there: counts.append((todo, there))
    )
    assert played == list(METHODS)
    assert counts == [(2, 2)]
    assert repr(again) == repr(first)


def test_a_study_may_grow(tmp_path: Path, clips: list[Clip]) -> None:
    folder = tmp_path / "out"
    study.run(folder, clips[:1], settings())
    grown = settings(methods=(*METHODS, "pitch"), conditions=(LOSSY, Condition(loss=0.05)))
    result = study.run(folder, clips, grown)
    assert len(result.rows) == 2 * 2 * 3
    kept = excerpts.find(folder)[0]
    assert set(kept.files) == {"reference", "lossy", *METHODS, "pitch"}
    # And what was asked for before is still there when less is asked for.
    assert len(study.run(folder, clips[:1], settings()).rows) == 12


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "whose seed is 0; now it is 1"),
        ({"metrics": ("nmse",)}, "whose metrics is"),
        ({"sample_rate": 16_000}, "whose sample_rate is None; now it is 16000"),
        ({"methods": ("repeat",)}, "whose first method is zeros; now it is repeat"),
    ],
)
def test_another_setting_is_refused(
    tmp_path: Path, clips: list[Clip], change: dict[str, Any], said: str
) -> None:
    study.run(tmp_path / "out", clips, settings())
    with pytest.raises(ConfigError, match=said):
        study.run(tmp_path / "out", clips, settings(**change))


def test_a_clip_that_changed_is_refused(tmp_path: Path, clips: list[Clip]) -> None:
    study.run(tmp_path / "out", clips, settings())
    soundfile.write(clips[0].path, tones(9, RATE, RATE), RATE)
    with pytest.raises(ConfigError, match=r"clips music/test/a\.wav is"):
        study.run(tmp_path / "out", clips, settings())


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path, clips: list[Clip]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match="is not empty and holds no study"):
        study.run(tmp_path / "out", clips, settings())
    with pytest.raises(ConfigError, match="holds no study"):
        study.load(tmp_path)


def test_a_damaged_journal_is_named_with_its_line(tmp_path: Path, clips: list[Clip]) -> None:
    study.run(tmp_path / "out", clips, settings())
    journal = tmp_path / "out" / study.JOURNAL_FILE
    journal.write_text("nonsense\n" + journal.read_text())
    whole = journal.read_text().split("\n", 1)[1]
    first = json.loads(whole.split("\n", 1)[0])
    entry: object
    for entry in (
        3,
        [],
        {},
        {**first, "gaps": 1},
        {**first, "scores": []},
        {**first, "clip": []},
        {**first, "method": "x"},
    ):
        journal.write_text(whole + json.dumps(entry) + "\n")
        last = whole.count("\n") + 1
        with pytest.raises(ConfigError, match=rf"journal\.jsonl, line {last}, is damaged"):
            study.load(tmp_path / "out")
    journal.write_text("nonsense\n" + whole)
    with pytest.raises(ConfigError, match="line 1, is damaged"):
        study.load(tmp_path / "out")


def test_a_bad_clip_fails_with_its_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "data", "good.wav", "short.wav", "broken.wav")
    soundfile.write(tmp_path / "data" / "short.wav", np.zeros(20), RATE)
    (tmp_path / "data" / "broken.wav").write_bytes(b"no audio")
    manifest = tmp_path / "data" / "clips.csv"
    manifest.write_text("path,domain\ngood.wav,music\nshort.wav,\nbroken.wav,\nabsent.wav,music\n")
    result = study.run(tmp_path / "out", find_named_clips([manifest]), settings())
    assert {row.clip for row in result.rows} == {"good.wav"}
    assert {row.domain for row in result.rows} == {"music"}
    reasons = {one.clip: one.reason for one in result.missing}
    assert "shorter than a packet" in reasons["short.wav"]
    assert "cannot read" in reasons["broken.wav"]
    assert "cannot read" in reasons["absent.wav"]
    assert len(result.missing) == 3 * len(METHODS)
    assert len(clips) == 3


def test_tables_of_a_study_without_a_score_are_empty(tmp_path: Path, clips: list[Clip]) -> None:
    for clip in clips:
        clip.path.write_bytes(b"no audio")
    result = study.run(tmp_path / "out", clips, settings())
    summary.write_tables(result, tmp_path / "out")
    assert json.loads((tmp_path / "out/summary.json").read_text())["rows"] == []
    assert (tmp_path / "out/failures.csv").read_text().count("cannot read") == len(result.missing)


def test_a_clip_that_was_mended_is_scored_when_the_study_goes_on(
    tmp_path: Path, clips: list[Clip]
) -> None:
    whole = clips[1].path.read_bytes()
    clips[1].path.write_bytes(whole[:20])
    folder = tmp_path / "out"
    assert len(study.run(folder, clips, settings()).missing) == len(METHODS)
    clips[1].path.write_bytes(whole)
    result = study.run(folder, clips, settings())
    assert not result.missing
    assert len(result.rows) == 2 * len(METHODS)


def test_a_peer_is_a_method_and_its_faults_are_its_own(tmp_path: Path, clips: list[Clip]) -> None:
    peers = {
        "half": peer("soundfile.write(sys.argv[3],x*0.5,r)"),
        "crash": peer("sys.exit('no licence')"),
        "segfault": peer("os.kill(os.getpid(),11)"),
        "hang": peer("import time; time.sleep(600)", timeout_s=1.5),
        "short": peer("soundfile.write(sys.argv[3],x[:-1],r)"),
        "rate": peer("soundfile.write(sys.argv[3],x,2*r)"),
        "mute": peer("pass"),
    }
    result = study.run(
        tmp_path / "out", clips[:1], settings(methods=("zeros", *peers), peers=peers)
    )
    assert [row.method for row in result.rows] == ["zeros", "half"]
    reasons = {one.method: one.reason for one in result.missing}
    assert reasons == {
        "crash": "PeerError: ended with 1: no licence",
        "segfault": "PeerError: died of SIGSEGV",
        "hang": "PeerError: took longer than 1.5 s",
        "short": "PeerError: wrote 7999 samples; expected 8000",
        "rate": "PeerError: wrote 16000 Hz; expected 8000 Hz",
        "mute": reasons["mute"],
    }
    assert "wrote nothing" in reasons["mute"]


def test_a_peer_that_returns_its_input_is_named(tmp_path: Path, clips: list[Clip]) -> None:
    peers = {
        "same": peer("soundfile.write(sys.argv[3],x,r)"),
        "coded": peer("soundfile.write(sys.argv[3],x,r)", coded=True),
        "half": peer("soundfile.write(sys.argv[3],x*0.5,r)"),
    }
    methods = ("zeros", *peers)
    soundfile.write(clips[1].path, np.zeros(RATE), RATE)  # nothing is lost of silence
    result = study.run(tmp_path / "out", clips, settings(methods=methods, peers=peers))
    said = summary.remarks(result)
    assert said == [
        f"Peer {name} returned its input unchanged in 1 of 2 clips." for name in ("same", "coded")
    ]
    assert all(line in summary.markdown(result) for line in said)
    assert [row["method"] for row in summary.score_rows(result) if row["unchanged"]] == [
        *("same", "coded")
    ]


def test_a_codec_is_also_compared_with_its_own_decode(tmp_path: Path, clips: list[Clip]) -> None:
    # "Codes" by halving, and loses what its trace says; a perfect concealer of its own decode
    # but for the lost packets, in which it plays nothing.
    code = (
        "t=np.array([c=='1' for c in open(sys.argv[2]).read().split()]); "
        "x*=0.5; x[np.repeat(t,80)]=0; soundfile.write(sys.argv[3],x,r,subtype='FLOAT')"
    )
    peers = {"codec": peer(code, coded=True)}
    result = study.run(
        tmp_path / "out", clips[:1], settings(methods=("zeros", "codec"), peers=peers)
    )
    assert result.methods == ["zeros", "codec", "codec" + OWN_DECODE]
    assert [row.scores["nmse"] for row in result.rows] == [0.0, 0.0, 0.0]
    # Given zeros where packets are lost, its own decode would have no energy there: NaN.
    assert not result.missing


def test_excerpts_are_what_was_played(tmp_path: Path, clips: list[Clip]) -> None:
    study.run(tmp_path / "out", clips, settings())
    (kept,) = excerpts.find(tmp_path / "out")
    assert kept.folder == study.audio_folder(tmp_path / "out", kept.clip, LOSSY.name)
    reference, lossy = kept.read("reference"), kept.read("lossy")
    assert len(reference) == kept.trace.size * kept.packet_samples == RATE // 2
    lost = np.repeat(kept.trace, kept.packet_samples)
    assert lost.any()
    assert not lossy[lost].any()
    np.testing.assert_array_equal(lossy[~lost], reference[~lost])
    np.testing.assert_array_equal(kept.read("zeros"), lossy)
    source: NDArray[np.float32] = soundfile.read(
        next(clip.path for clip in clips if clip.name == kept.clip), dtype="float32"
    )[0]
    np.testing.assert_allclose(
        reference[:, 0], 32768 * source[kept.start :][: RATE // 2], atol=0.5001
    )


def test_excerpts_take_turns_among_domains_and_conditions() -> None:
    clips = [Clip(f"{n}.wav", Path(f"{n}.wav"), "music" if n < 6 else "speech") for n in range(8)]
    plan = excerpts.plan(clips, ["light", "heavy"], 4)
    domains = {clip.name: clip.domain for clip in clips}
    assert [domains[name] for name, _ in plan] == ["music", "speech"] * 2
    assert [condition for _, condition in plan] == ["light", "heavy"] * 2
    everything = excerpts.plan(clips, ["light", "heavy"], 99)
    assert len(set(everything)) == len(everything) == 16


def test_the_tables_say_what_the_rows_say(tmp_path: Path, clips: list[Clip]) -> None:
    folder = tmp_path / "out"
    missing = {"crash": peer("sys.exit(3)")}
    result = study.run(
        folder, clips, settings(methods=(*METHODS, "crash"), peers=missing, excerpt_count=0)
    )
    said = summary.write_tables(result, folder)
    assert "scores.csv" in said
    with (folder / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == [*METHODS, *METHODS]
    repeat = [row for row in rows if row["method"] == "repeat"]
    mean = np.mean([float(row["nmse"]) for row in repeat])
    text = (folder / "summary.md").read_text()
    assert f"| repeat | {mean:.2f} |" in text
    assert f"| {mean:+.2f}, " in text  # zeros have 0 dB, so the difference is the score
    assert "- music/test/a.wav, " in text
    assert "ended with 3" in text
    with (folder / "failures.csv").open() as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["crash", "crash"]
    with (folder / "gaps.csv").open() as file:
        gaps = [row for row in csv.DictReader(file) if row["method"] == "repeat"]
    assert sum(int(row["gaps"]) for row in gaps) == sum(int(row["bursts"]) for row in repeat)


def test_a_codecs_own_decode_has_means_and_no_differences(
    tmp_path: Path, clips: list[Clip]
) -> None:
    lossy = "'1' in open(sys.argv[2]).read()"
    code = f"soundfile.write(sys.argv[3],x*(0.5 if {lossy} else 0.9),r)"
    codec = {"codec": peer(code, coded=True)}
    methods, own = ("zeros", "repeat", "codec"), "codec" + OWN_DECODE
    result = study.run(tmp_path / "out", clips, settings(methods=methods, peers=codec))
    tables = {table.title.split(":")[0]: table for table in summary.summary_tables(result)}
    means = {row[0].text: row for row in tables["Means"].rows}
    assert means[own][1].text
    differences = tables["Difference to zeros"]
    assert [row[0].text for row in differences.rows] == ["repeat", "codec"]
    for table in (differences, tables["By domain"], tables["By burst"]):
        assert "(own decode) have no difference" in table.note
    for table, name in ((tables["By domain"], 1), (tables["By burst"], 0)):
        for row in table.rows:
            shown = [
                cell.text for cell, head in zip(row, table.headings, strict=True) if "to z" in head
            ]
            assert all(shown) == (row[name].text in ("repeat", "codec"))
    alone = study.run(tmp_path / "alone", clips, settings())
    assert not any("own decode" in table.note for table in summary.summary_tables(alone))


def test_scores_that_say_nothing_of_a_peer_are_not_shown(tmp_path: Path, clips: list[Clip]) -> None:
    result = study.run(tmp_path / "out", clips, settings())
    rows = [replace(row, method="neteq") if row.method == "repeat" else row for row in result.rows]
    moved = replace(result, rows=rows, settings={**result.settings, "methods": ["zeros", "neteq"]})
    tables = {table.title.split(":")[0]: table for table in summary.summary_tables(moved)}
    means, differences = tables["Means"], tables["Difference to zeros"]
    # What the table of means has are the metrics without a class of bursts: nmse, level, zeros.
    for table in (means, differences):
        shown = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}["neteq"]
        assert shown[:2] == ["-", "-"]
        assert shown[2] != "-"
    assert [cell.text for cell in tables["By burst"].rows[1][1:]] == ["-", "-"]
    assert {cell.text for cell in tables["By length of the gap"].rows[1][1:]} == {"-"}
    assert not summary.gap_curve(moved, "neteq", "lsd")
    assert summary.score_rows(moved)[1]["nmse"] == result.rows[1].scores["nmse"]


def test_a_mean_over_fewer_clips_says_so(tmp_path: Path, clips: list[Clip]) -> None:
    once = peer("os.path.exists(sys.argv[4]) or sys.exit(soundfile.write(sys.argv[3],x,r))")
    flaky = replace(once, command=f"{once.command} {shlex.quote(str(tmp_path / 'seen'))}")
    options = {"methods": (*METHODS, "flaky"), "peers": {"flaky": flaky}, "excerpt_count": 0}
    study.run(tmp_path / "out", clips[:1], settings(**options))
    (tmp_path / "seen").touch()
    result = study.run(tmp_path / "out", clips, settings(**options))
    assert [one.reason for one in result.missing] == ["PeerError: wrote nothing"]
    means = summary.summary_tables(result)[0]
    shown = {row[0].text: [cell.text for cell in row[1:]] for row in means.rows}
    assert all("missing" not in text for method in METHODS for text in shown[method])
    assert shown["flaky"][0] == "0.00 (1 missing)"


def test_a_folder_that_is_a_file_or_damaged_is_said(tmp_path: Path, clips: list[Clip]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write"):
        study.run(tmp_path / "file", clips, settings())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / study.SETTINGS_FILE).write_text('{"format": 1, "methods": []}')
    with pytest.raises(ConfigError, match="is damaged: it has no peers, conditions"):
        study.run(tmp_path / "out", clips, settings())


def test_the_curve_over_gaps_weighs_by_how_many_there_were(tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "data", "x/a.wav", samples=3 * RATE)
    result = study.run(tmp_path / "out", clips, settings(excerpt_count=0))
    (row,) = [row for row in result.rows if row.method == "repeat"]
    points = summary.gap_curve(result, "repeat", "nmse")
    assert sum(point.gaps for point in points) == row.bursts
    inside = [gap for gap in row.gaps if 4 < gap.packets <= 6]  # over 40 ms, to 60 ms
    assert len(inside) == 2
    expected = sum(gap.count * gap.scores["nmse"] for gap in inside)
    expected /= sum(gap.count for gap in inside)
    (point,) = [point for point in points if 40.5 < point.gap_ms <= 60.5]
    assert point.mean == pytest.approx(expected)


def test_ranks_are_of_judges_that_taught_nothing(clips: list[Clip]) -> None:
    result = study.run(None, clips, settings(metrics=("nmse",), methods=METHODS))
    assert summary.ranks(result) == []
    result.settings["metrics"] = ["pesq", "stoi", "words"]
    for row in result.rows:
        zeros = row.method == "zeros"
        row.scores.update(pesq=float(zeros), stoi=0.5 if zeros else 0.6, words=10.0)
    (table,) = summary.ranks(result)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["zeros", "1.75"],
        ["repeat", "1.25"],
    ]
    assert "STOI, words wrong" in table.note


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="two conditions are the same"):
        settings(conditions=(LOSSY, LOSSY))
    for wrong, said in (
        ({"metrics": ("nmse_long",)}, "unknown metric nmse_long; there are nmse"),
        ({"metrics": ()}, "none given"),
        ({"methods": ()}, "a method and a condition"),
        ({"methods": ("ar@ahead",)}, "@ahead is not understood"),
    ):
        with pytest.raises(ConfigError, match=said):
            settings(**wrong)


def test_settings_are_plain_json(tmp_path: Path, clips: list[Clip]) -> None:
    study.run(tmp_path / "out", clips, settings(peers={"p": peer("pass")}))
    recorded = json.loads((tmp_path / "out" / study.SETTINGS_FILE).read_text())
    assert recorded["peers"]["p"]["command"].endswith("{in} {trace} {out}")
    assert recorded["clips"]["music/test/a.wav"]["domain"] == "music"
    assert len(recorded["clips"]["music/test/a.wav"]["sha256"]) == 64
