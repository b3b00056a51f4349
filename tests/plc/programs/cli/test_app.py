"""The command, run on real files."""

import json
import os
import re
import subprocess
import sys
import zipfile
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import plc.files.recordings
import plc.restore.repair
from plc import METHODS
from plc.engine.loss import GilbertElliott
from plc.engine.stream.methods import BASELINES, FILE_METHODS
from plc.engine.trace_files import read_trace, write_trace
from plc.files.audio import read_audio
from plc.files.fill.interpolate import LONGEST_REFINED_GAP
from plc.programs.cli.app import app
from tests.examples import some
from tests.processes import environment
from tests.signals import tones

ROOT = Path(__file__).parents[4]
RATE = 16_000


def run(*arguments: object, status: int = 0) -> Any:
    """Run the command in this process and check its status."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    if status in (0, 1):
        assert "Traceback" not in result.output
    return result


def refusal(*arguments: object) -> str:
    """Run a command that is refused; return its one line."""
    result = run(*arguments, status=1)
    assert result.stdout == ""
    lines: list[str] = result.stderr.splitlines()
    assert len(lines) == 1
    return lines[0]


def misuse(*arguments: object) -> str:
    """Run a command that is misused; return what it says, without its frame."""
    return " ".join(run(*arguments, status=2).stderr.replace("│", " ").split())


def in_a_process(*arguments: object, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "plc", *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **settings,
    )


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    soundfile.write(path, tones(1, RATE, 2 * RATE), RATE, subtype="PCM_16")
    return path


def test_losing_and_concealing_a_file_keeps_its_length_and_what_arrived(clip: Path) -> None:
    lossy, heard = clip.with_name("lossy.flac"), clip.with_name("heard.flac")
    result = run("lose", clip, lossy, "--loss", "10%", "--burst", 2, "--packet-ms", 20)
    lost = read_trace(lossy.with_suffix(".trace"))
    assert f"lost {np.count_nonzero(lost)} of 100 packets" in result.stdout
    run("conceal", lossy, heard, "--trace", lossy.with_suffix(".trace"), "--packet-ms", 20)
    (truth, _), (silenced, _), (concealed, rate) = map(read_audio, (clip, lossy, heard))
    assert (concealed.shape, rate) == (truth.shape, RATE)
    gap = np.repeat(lost, RATE // 50)
    assert not silenced[gap].any()
    error = np.mean((concealed[gap] - truth[gap]) ** 2)
    assert error < 0.5 * np.mean(truth[gap] ** 2)


def test_json_is_all_there_is_on_stdout(clip: Path) -> None:
    result = run("conceal", clip, clip.with_name("b.wav"), "--loss", "0.1", "--json")
    report = json.loads(result.stdout)
    assert report["samples"] == 2 * RATE
    assert report["packets"] == 200
    assert report["stats"]["lost_packets"] == report["lost_packets"] > 0
    assert report["real_time_factor"] > 0
    lossy = json.loads(run("lose", clip, clip.with_name("c.wav"), "--loss", "0.1", "--json").stdout)
    assert lossy["lost_packets"] == report["lost_packets"]  # the same seed


def test_a_recording_of_which_everything_is_lost_is_silence(clip: Path) -> None:
    for command, options in [("conceal", ["--lookahead", 1]), ("conceal", []), ("lose", [])]:
        target = clip.with_name(f"{command}.wav")
        result = run(command, clip, target, "--loss", "100%", "-y", *options)
        assert "200 of 200 packets (100.0 %)" in result.stdout
        played, _ = read_audio(target)
        assert played.shape == (2 * RATE, 1)
        assert not played.any()
    assert read_trace(clip.with_name("lose.trace")).all()


def test_losses_that_hit_nothing_are_told(clip: Path, tmp_path: Path) -> None:
    for command in ("conceal", "lose"):
        result = run(command, clip, tmp_path / f"{command}.wav", "--loss", "0.1%", "--burst", 500)
        assert " 0 of" in result.output
        assert "no packet was lost" in result.output
    trace = tmp_path / "none.trace"
    trace.write_text("0\n" * 200)
    result = run("conceal", clip, tmp_path / "traced.wav", "--trace", trace)
    assert "no packet was lost" not in result.output


def test_losing_everything_leaves_no_say_to_a_mean_burst(clip: Path) -> None:
    target = clip.with_name("b.wav")
    for command in ("conceal", "lose"):
        text = misuse(command, clip, target, "--loss", "100%", "--burst", 3)
        assert "one burst without end" in text
        assert "leave --burst out" in text
    assert not target.exists()


def test_the_mean_burst_that_help_names_is_the_models_own() -> None:
    default = GilbertElliott(0.1).mean_burst
    for command in ("conceal", "lose"):
        text = " ".join(run(command, "--help").stdout.replace("│", " ").split())
        assert f"[default: ({default:g})]" in text


@pytest.mark.parametrize("method", METHODS)
def test_every_method_conceals_a_file(clip: Path, method: str) -> None:
    target = clip.with_name("b.wav")
    run("conceal", clip, target, "--loss", "5%", "--method", method, "--lookahead", 1)
    assert read_audio(target)[0].shape == (2 * RATE, 1)


def test_a_lookahead_in_ms_is_that_in_packets_rounded_up(clip: Path) -> None:
    target = clip.with_name("b.wav")
    loss = ("conceal", clip, target, "-y", "--loss", "10%", "--packet-ms", 20, "--method", "ar")
    run(*loss, "--lookahead", 2)
    expected = read_audio(target)[0]
    run(*loss, "--lookahead", "30ms")
    np.testing.assert_array_equal(read_audio(target)[0], expected)
    run(*loss, "--lookahead", "20ms")
    assert not np.array_equal(read_audio(target)[0], expected)
    for wrong in ("-1", "1.5", "2s", "infms"):
        assert "is not a lookahead; give packets, or ms: 200ms" in misuse(
            *loss, f"--lookahead={wrong}"
        )


def test_the_context_encoder_conceals_a_file_and_names_the_lookahead_it_needs(
    clip: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    from tests.plc.engine.networks.test_encoder import write_context_encoder

    model, target = write_context_encoder(tmp_path, False), clip.with_name("b.wav")
    given = ("conceal", clip, target, "--loss", "5%", "--model", model, "--json")
    found = json.loads(run(*given, "--lookahead", "200ms").stdout)["stats"]
    assert found["rung_samples"]["network:tiny"] > 0
    assert found["network_done"] > 0
    assert "give at least 20 (200 ms)" in refusal(*given, "-y", "--lookahead", "100ms")


def test_gaps_are_inpainted(clip: Path) -> None:
    target, gaps = clip.with_name("b.wav"), clip.with_name("gaps.txt")
    gaps.write_text("1.5:1.52\n")
    result = run("inpaint", clip, target, "--gap", "0.5:0.52", "--gap", "0.51:0.53", "--gaps", gaps)
    assert "filled 2 gaps, 50.0 ms" in result.stdout
    assert "refined" not in result.stdout
    truth, filled = read_audio(clip)[0], read_audio(target)[0]
    gap = slice(RATE // 2, RATE // 2 + 480)
    assert (filled[gap] != truth[gap]).any()
    assert np.mean((filled[gap] - truth[gap]) ** 2) < 0.5 * np.mean(truth[gap] ** 2)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Return a folder of two recordings with a hole of 20 ms at 0.5 s."""
    folder = tmp_path / "damaged"
    for name, seed in (("a.wav", 1), ("side/b.flac", 2)):
        signal = tones(seed, RATE, RATE)
        signal[RATE // 2 : RATE // 2 + RATE // 50] = 0.0
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, signal, RATE, subtype="PCM_16")
    return folder


def test_a_folder_is_inpainted_by_the_labels_of_another(damaged: Path, tmp_path: Path) -> None:
    out, labels = tmp_path / "out", tmp_path / "labels"
    for name in ("a.txt", "side/b.txt"):
        (labels / name).parent.mkdir(parents=True, exist_ok=True)
        (labels / name).write_text("0.5\t0.52\tdropout\n")
    page = tmp_path / "report.html"
    arguments = ["inpaint", damaged, out, "--gaps", labels, "--method", "ar"]
    result = run(*arguments, "--report", page)
    assert result.stdout.count("filled 1 gap, 20.0 ms") == 2
    for name in ("a.wav", "side/b.flac"):
        filled = read_audio(out / name)[0]
        assert filled[RATE // 2 : RATE // 2 + RATE // 50].any()
    text = page.read_text(encoding="utf-8")
    assert ">side/b.flac</td>" in text
    assert "2 recordings, 2 gaps filled." in text
    assert "default-src" in text
    # A second time nothing is replaced, and every file is told.
    again = run(*arguments, "--report", tmp_path / "other.html", status=1)
    assert len(again.stderr.splitlines()) == 3
    assert again.stderr.splitlines()[-1] == "plc: 2 of 2 files failed"
    (labels / "a.txt").unlink()
    partly = run(*arguments, "-y", "--json", status=1)
    told = json.loads(partly.stdout)
    assert [each["source"] for each in told["files"]] == [str(damaged / "side/b.flac")]
    assert [each["source"] for each in told["refused"]] == [str(damaged / "a.wav")]
    assert "needs" in told["refused"][0]["error"]


def test_a_mask_and_other_units_say_where_to_inpaint(damaged: Path, tmp_path: Path) -> None:
    source, mask = damaged / "a.wav", np.zeros(RATE, np.bool_)
    mask[RATE // 2 : RATE // 2 + RATE // 50] = True
    np.save(tmp_path / "mask.npy", mask)
    results = []
    ways: dict[str, list[object]] = {
        "mask": ["--mask", tmp_path / "mask.npy"],
        "clock": ["--gap", "0:00.5-0:00.52"],
        "samples": ["--gap", f"{RATE // 2}smp-520ms"],
    }
    for name, options in ways.items():
        target = tmp_path / f"{name}.wav"
        run("inpaint", source, target, *options)
        results.append(target.read_bytes())
    assert results[0] == results[1] == results[2]


def test_a_pipe_is_read_and_written(clip: Path) -> None:
    options = ["--loss", "10%", "--method", "ar"]
    run("conceal", clip, clip.with_name("b.flac"), *options)
    done = subprocess.run(
        [sys.executable, "-m", "plc", "conceal", "-", "-", "--format", "flac", *options],
        env=environment(),
        input=clip.read_bytes(),
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == clip.with_name("b.flac").read_bytes()
    assert b"concealed" in done.stderr


def test_a_fault_of_stdin_is_told_without_the_file_it_was_kept_in(tmp_path: Path) -> None:
    def told(target: Path, *options: object) -> Any:
        arguments = [str(each) for each in ("conceal", "-", target, "--loss", "5%", *options)]
        result = CliRunner().invoke(app, arguments, input="no audio")
        assert result.exit_code == 1
        return result

    assert told(tmp_path / "a.wav").stderr.startswith("plc: stdin is not an audio file")
    tmp_path.joinpath("folder").mkdir()
    result = told(tmp_path / "folder", "--format", "wav", "--json")
    assert result.stderr.startswith("plc: stdin is not an audio file")
    [refused] = json.loads(result.stdout)["refused"]
    assert refused["source"] == "stdin"


def test_a_folder_is_concealed_into_another_format(damaged: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("conceal", damaged, out, "--loss", "5%", "--format", "mp3", "--bitrate", "64k")
    assert "side/b.flac: concealed" in result.stdout
    assert sorted(path.name for path in out.rglob("*.*")) == ["a.mp3", "b.mp3"]


def test_what_cannot_become_of_recordings_is_told(damaged: Path, tmp_path: Path) -> None:
    file = tmp_path / "file.wav"
    file.touch()
    loss = ("--loss", "5%")
    assert "several recordings go to a folder" in refusal("conceal", damaged, file, *loss)
    assert "cannot be written; give one of" in refusal(
        "conceal", damaged, tmp_path / "out", *loss, "--format", "xyz"
    )
    assert "takes no bit rate" in refusal(
        "conceal", damaged / "a.wav", tmp_path / "b.wav", *loss, "--bitrate", "64k"
    )
    assert "the nearest is 160k" in refusal(
        "conceal", damaged / "a.wav", tmp_path / "b.mp3", *loss, "--bitrate", "999k"
    )
    assert not (tmp_path / "b.mp3").exists()
    assert "not a bit rate; give 192k" in misuse(
        "conceal", damaged / "a.wav", tmp_path / "b.wav", *loss, "--bitrate", "much"
    )
    assert "make it first" in refusal(
        "conceal", damaged / "a.wav", tmp_path / "b.wav", *loss, "--report", tmp_path / "no/a.html"
    )
    assert "an empty name is not a file" in misuse("conceal", "", tmp_path / "b.wav", *loss)
    assert not (tmp_path / "b.wav").exists()


def test_damage_is_found_told_and_repaired(clip: Path) -> None:
    signal = read_audio(clip)[0]
    signal[8_000:8_400] = 0.0
    damaged, target = clip.with_name("damaged.wav"), clip.with_name("good.wav")
    soundfile.write(damaged, signal, RATE, subtype="PCM_16")
    labels = clip.with_name("labels.txt")
    table = run("detect", damaged, "--labels", labels).stdout
    assert "25.0 ms  silence" in table
    assert "found 1 place of damage in 2.0 s: 1 silence" in table
    run("detect", damaged, "--labels", f"{clip.parent}/a b/c/")
    assert (clip.parent / "a b/c/damaged.wav.txt").read_text() == labels.read_text()
    assert "exists" in refusal("detect", damaged, "--labels", labels)
    assert labels.read_text().endswith("silence 1.00\n")
    report = json.loads(run("detect", damaged, "--json").stdout)
    assert [(each["start"], each["stop"]) for each in report["findings"]] == [(8_000, 8_400)]
    assert "found 0 places" in run("detect", clip).stdout
    text = run("inpaint", damaged, target, "--method", "ar").stdout
    assert "found 1 place of damage" in text
    assert "filled 1 gap, 25.0 ms" in text
    mended = read_audio(target)[0]
    assert np.abs(mended[8_000:8_400]).max() > 0.01
    np.testing.assert_array_equal(mended[:8_000], signal[:8_000])
    report = json.loads(run("inpaint", damaged, target, "-y", "--method", "ar", "--json").stdout)
    assert report["gaps"] == [[8_000, 8_400]]
    run("inpaint", damaged, f"{clip.parent}/e/", "--method", "ar")
    assert (clip.parent / "e/damaged.wav").is_file()
    assert "(none)" in refusal("inpaint", damaged, clip.with_name("f"), "--method", "ar")


def test_the_lost_packets_of_a_trace_are_inpainted(clip: Path) -> None:
    lossy, ahead, both = (clip.with_name(f"{name}.wav") for name in ("lossy", "ahead", "both"))
    run("lose", clip, lossy, "--loss", "10%", "--packet-ms", 20)
    trace = ("--trace", lossy.with_suffix(".trace"), "--packet-ms", 20)
    run("conceal", lossy, ahead, *trace)
    assert "filled" in run("inpaint", lossy, both, *trace).stdout
    truth = read_audio(clip)[0]
    lost = np.repeat(read_trace(trace[1]), RATE // 50)[: len(truth)]
    heard = read_audio(both)[0]
    np.testing.assert_array_equal(heard[~lost], truth[~lost])
    errors = [np.sum((read_audio(path)[0] - truth)[lost] ** 2) for path in (both, ahead)]
    assert errors[0] < errors[1]
    assert "give --packet-ms 20" in refusal("inpaint", lossy, both, *trace[:2])
    trace[1].write_text("0" * 2 * RATE)
    assert "nothing to fill" in refusal("inpaint", lossy, both, *trace)


def test_gaps_that_were_too_long_to_be_refined_are_named(clip: Path) -> None:
    target = clip.with_name("b.wav")
    gaps = ["--gap", "0.5:0.52", "--gap", "1:1.3", "-y"]
    text = run("inpaint", clip, target, *gaps).stdout
    assert "refined 1 of 2 gaps" in text
    assert "longer than 256 ms" in text
    assert "refined" not in run("inpaint", clip, target, *gaps, "--quality", "fast").stdout
    report = json.loads(run("inpaint", clip, target, *gaps, "--json").stdout)
    assert report["refined_gaps"] == 1


def test_help_names_the_longest_gap_that_is_refined() -> None:
    text = " ".join(run("inpaint", "--help").stdout.split())
    longest_ms = 1000 * LONGEST_REFINED_GAP / 48_000
    assert f"up to {LONGEST_REFINED_GAP} samples ({longest_ms:.0f} ms at 48 kHz)" in text


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the demonstration push nothing in real time; tests/plc/programs/test_demo.py does."""
    times_ms = np.array([0.2, 0.3])
    monkeypatch.setattr(
        "plc.programs.demo._time_live",
        lambda streams, seconds: dict.fromkeys(streams, (times_ms, 5.0)),
    )


@pytest.mark.usefixtures("untimed")
def test_the_demo_prints_a_table_and_ends_calmly_without_matplotlib_judges_and_codecs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("matplotlib.figure", "plc_bench.scores.registry", "plc_bench.peers.opus"):
        monkeypatch.setitem(sys.modules, module, None)
    result = run("demo", "--out", tmp_path, "--loss", "5%")
    for text in (
        "music",
        "speech",
        "lossy",
        "repeat",
        "LPC",
        "speech-plc-60ms.wav",
        "+0.0 dB",
        "[plots]",
        "To score speech by PLCMOS and PESQ, too: pip install --no-deps speechmos; pip install ",
    ):
        assert text in result.stdout
    assert result.stderr == ""
    assert "Opus" not in result.stdout
    assert result.stdout.splitlines()[-1].startswith("files: ")
    assert not list(tmp_path.glob("*.png"))


# ---- refusals: status 1 and one line; misuse: status 2 ------------------------------------------


def test_traces_that_do_not_fit_are_refused(clip: Path) -> None:
    trace, target = clip.with_name("a.trace"), clip.with_name("b.wav")
    trace.write_text("0\nyes\n")
    assert "line 2: found 'yes'" in refusal("conceal", clip, target, "--trace", trace)
    write_trace(trace, np.zeros(20, np.bool_))
    line = refusal("conceal", clip, target, "--trace", trace)
    assert "20 packets" in line
    assert "200" in line
    run("conceal", clip, target, "--trace", trace, "--loop")
    assert "cannot read" in refusal("conceal", clip, target, "--trace", clip.with_name("none"))


def test_impossible_settings_are_refused(clip: Path) -> None:
    target = clip.with_name("b.wav")
    assert "mean burst" in refusal("conceal", clip, target, "--loss", "90%", "--burst", 1)
    assert "0.1 to 120 ms" in refusal("conceal", clip, target, "--loss", "10%", "--packet-ms", 5000)
    assert "2.000 s" in refusal("inpaint", clip, target, "--gap", "1.99:2.01")


def test_packets_may_be_given_in_samples(clip: Path) -> None:
    lossy, other = clip.with_name("lossy.wav"), clip.with_name("other.wav")
    run("lose", clip, lossy, "--loss", "10%", "--packet-ms", "352smp")
    trace = lossy.with_suffix(".trace")
    assert "packets of 352 samples" in trace.read_text()
    run("conceal", lossy, other, "--trace", trace, "--packet-ms", "352smp")
    assert "352 samples" in refusal("conceal", lossy, other, "--trace", trace, "--overwrite")


def test_misused_options_say_what_would_do(clip: Path) -> None:
    target = clip.with_name("b.wav")
    for loss in ("150%", "1.5", "-3%", "many", "nan"):
        assert "0% to 100%" in misuse("conceal", clip, target, f"--loss={loss}")
    text = misuse("conceal", clip, target, "--loss", "10%", "--method", "magic")
    assert all(name in text for name in METHODS)
    assert "one of --trace FILE and --loss" in misuse("conceal", clip, target)
    folder = clip.with_name("new")
    assert "one of --trace FILE and --loss" in misuse("conceal", clip.parent, folder)
    assert not folder.exists()
    assert "START:STOP" in misuse("inpaint", clip, target, "--gap", "1.25")
    assert "say where it is: --gap" in refusal("inpaint", clip, target)
    misuse("conceal", clip)
    misuse("no-such-command")
    assert not target.exists()


@pytest.mark.parametrize(
    ("work", "made", "given"),
    [
        ("restore.detect.recorded.detect_file", "--labels", ()),
        ("files.recordings.inpaint_file", "--report", ("b.wav", "--gap", "0.5:0.51")),
        ("restore.repair.run_repair", "--report", ("--out", "out", "--jobs", "1")),
    ],
)
def test_labels_and_pages_that_came_meanwhile_stay(
    clip: Path, monkeypatch: pytest.MonkeyPatch, work: str, made: str, given: tuple[str, ...]
) -> None:
    command = work.rpartition(".")[2].partition("_")[0].replace("run", "repair")
    known = attrgetter(work)(plc)

    def meanwhile(*asked: Any, **how: Any) -> Any:
        clip.with_name("made").write_text("mine")
        return known(*asked, **how)

    monkeypatch.chdir(clip.parent)
    monkeypatch.setattr(f"plc.{work}", meanwhile)
    result = run(command, clip.name, *given, made, "made", status=1)
    assert "made exists; give --overwrite" in result.stderr
    assert Path("made").read_text() == "mine"


def test_a_page_is_no_recording_whatever_its_name(clip: Path) -> None:
    bare = clip.rename(clip.with_name("tape"))
    before = bare.read_bytes()
    for rest in (("repair", bare, "--out", clip.with_name("out")), ("inpaint", bare, clip)):
        assert "is the recording" in refusal(*rest, "--report", bare, "--overwrite")
    assert bare.read_bytes() == before


def test_clipping_is_warned_of(tmp_path: Path) -> None:
    source = tmp_path / "loud.wav"
    soundfile.write(source, 20 * tones(1, RATE, RATE), RATE, subtype="FLOAT")
    result = run("conceal", source, tmp_path / "b.flac", "--loss", "0%")
    assert "beyond full scale" in result.stderr
    assert "warning" not in run("conceal", source, tmp_path / "b.wav", "--loss", "0%").stderr


def test_methods_are_listed_with_what_they_do() -> None:
    text = run("doctor", "--methods").stdout
    known = METHODS | FILE_METHODS | BASELINES
    assert all(name in text for name in known)
    assert json.loads(run("doctor", "--methods", "--json").stdout) == known


# ---- as a program -------------------------------------------------------------------------------


def test_the_program_refuses_with_one_line_and_no_traceback(tmp_path: Path) -> None:
    done = in_a_process("lose", tmp_path / "none.wav", tmp_path / "b.wav", "--loss", "10%")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"plc: cannot read {tmp_path / 'none.wav'}: No such file or directory\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m plc doctor --methods | true"
    done = subprocess.run(
        ["sh", "-c", command],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""


def test_help_and_version_load_nothing_heavy() -> None:
    for option in ("--help", "--version"):
        code = (
            "import sys; from plc.programs.cli.app import app\n"
            f"try: app(['{option}'], prog_name='plc')\n"
            "except SystemExit: pass\n"
            "heavy = {'numpy', 'numba', 'soundfile', 'matplotlib', 'av', 'onnxruntime'}\n"
            "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
        )
        alone = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=alone,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "plc" in done.stdout


def test_packets_with_nan_are_mentioned(tmp_path: Path) -> None:
    samples = tones(1, RATE, RATE)
    samples[5000] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, RATE, subtype="FLOAT")
    result = run("conceal", tmp_path / "nan.wav", tmp_path / "out.wav", "--loss", "0%")
    assert "and 1 packet with undecodable samples, NaN or infinity" in result.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@some("arguments", [["--help"], ["--version"]])
def test_a_full_disk_under_the_output_is_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "plc", *arguments],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("plc: cannot write the result: No space left on device (the disk is")


@pytest.mark.parametrize("command", ["conceal", "inpaint", "lose"])
@some("consent", ["-y", "--overwrite"])
def test_a_file_that_is_there_is_replaced_only_with_consent(
    clip: Path, command: str, consent: str
) -> None:
    target = clip.with_name("out.wav")
    target.write_text("somebody's")
    what = ["--gap", "0.5:0.51"] if command == "inpaint" else ["--loss", "10%"]
    how = [] if command == "lose" else ["--method", "ar"]
    said = refusal(command, clip, target, *what, *how)
    assert said == f"plc: {target} exists; give --overwrite, or another name"
    assert target.read_text() == "somebody's"
    run(command, clip, target, *what, *how, consent)
    assert read_audio(target)[1] == RATE
    same = refusal(command, clip, clip, *what, *how, consent)
    assert "is the source itself" in same


def test_a_trace_that_is_there_is_kept_too(clip: Path) -> None:
    trace = clip.with_name("out.trace")
    trace.write_text("somebody's")
    said = refusal("lose", clip, clip.with_name("out.wav"), "--loss", "10%")
    assert said == f"plc: {trace} exists; give --overwrite, or another name"
    assert not clip.with_name("out.wav").exists()
    assert trace.read_text() == "somebody's"


def test_what_is_sent_or_relayed_into_files_asks_before_it_begins(clip: Path) -> None:
    target = clip.with_name("out.wav")
    target.write_text("somebody's")
    relay = ("relay", "--listen", "udp://127.0.0.1:0", "--seconds", "0", "--to")
    assert "out.wav exists; give --overwrite" in refusal(*relay, target)
    to = ("--to", "udp://127.0.0.1:9", "--seconds", "0", "--sdp-out", target)
    assert "out.wav exists; give --overwrite" in refusal("send", clip, *to)
    assert target.read_text() == "somebody's"


@pytest.mark.usefixtures("untimed")
def test_a_demonstration_renews_its_own_folder_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plc.programs.demo.REMEDIES", {"repeat": "repeat"})
    for module in ("plc_bench.scores.registry", "plc_bench.peers.opus"):
        monkeypatch.setitem(sys.modules, module, None)
    mine = ("demo", "--no-picture", "--out")
    run(*mine, tmp_path / "new")
    run(*mine, tmp_path / "new")
    (tmp_path / "speech.trace").write_text("somebody's")
    assert "speech.trace exists; give --overwrite" in refusal(*mine, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["speech.trace"]
    run(*mine, tmp_path, "-y")


@pytest.mark.parametrize(
    ("arguments", "choices"),
    [
        (("inpaint", "a", "b", "--quality", "x"), "'fast', 'good', 'best'"),
        (
            ("send", "a", "--to", "b", "--codec", "x"),
            "'l16', 'l24', 'pcmu', 'pcma', 'g722', 'opus'",
        ),
        (("relay", "--codec", "x"), "'l16', 'l24', 'pcmu', 'pcma', 'g722', 'opus'"),
        (("live", "--backend", "x"), "'sounddevice', 'pyaudio'"),
        (("devices", "--backend", "x"), "'sounddevice', 'pyaudio', 'all'"),
        (("bench", "inpaint", "a", "--context", "x"), "'full', 'paper'"),
    ],
)
def test_a_word_that_is_no_choice_is_misuse_and_the_choices_are_told(
    arguments: tuple[str, ...], choices: str
) -> None:
    assert choices in misuse(*arguments)


@some("host", ["a..b", "\udcff", ".", "a" * 64, "xn--a\u0080"], 2)
def test_a_host_that_is_none_is_refused_where_it_is_given(clip: Path, host: str) -> None:
    assert "is not a host" in refusal("send", clip, "--to", f"udp://{host}:5")


def test_many_doubtful_places_do_not_hide_the_damage(clip: Path) -> None:
    signal = tones(5, RATE, 8 * RATE)
    for start in range(0, 6 * RATE, RATE // 4):
        signal[start : start + 800] = 0.0
    signal[7 * RATE : 7 * RATE + 3] = np.nan
    gate = clip.with_name("gate.wav")
    soundfile.write(gate, signal, RATE, subtype="FLOAT")
    lines = run("detect", gate).stdout.splitlines()
    rows = [line for line in lines if line.lstrip()[0].isdigit()]
    assert (len(rows), sum("invalid" in row for row in rows)) == (10 + 1, 1)
    assert lines[-2].startswith("and 1")
    assert lines[-2].endswith("more doubtful places: --json lists all")
    assert lines[-1].startswith("found 1 place of damage in 8.0 s: 1 invalid; 2")


@pytest.fixture
def tapes(clip: Path) -> Path:
    """Return a folder with a damaged recording and a sound one."""
    folder = clip.with_name("tapes")
    (folder / "side").mkdir(parents=True)
    signal = read_audio(clip)[0]
    soundfile.write(folder / "side/whole.wav", signal, RATE, subtype="PCM_16")
    signal[8_000:8_400] = 0.0
    soundfile.write(folder / "hole.wav", signal, RATE, subtype="PCM_16")
    return folder


def test_doubtful_places_are_told_and_not_filled(clip: Path) -> None:
    signal = read_audio(clip)[0]
    for start in range(2_000, 2 * RATE, 4_000):
        signal[start : start + 800] = 0.0
    gate, target = clip.with_name("gate.wav"), clip.with_name("good.wav")
    soundfile.write(gate, signal, RATE, subtype="PCM_16")
    told = refusal("inpaint", gate, target, "--method", "ar")
    assert "no damage found" in told
    assert "8 doubtful places, not filled (8 too much of the recording)" in told
    assert (
        "to fill them anyway: --gap 0.125000:0.175000 (silence: too much of the recording)" in told
    )
    assert told.count("--gap 0.") + told.count("--gap 1.") == 3
    assert "and 5 more: plc detect --json lists them" in told
    assert not target.exists()
    table = run("detect", gate).stdout
    assert "found 0 places of damage in 2.0 s; 8 doubtful places, not filled" in table
    assert table.count("too much of the recording") == 9
    run("inpaint", gate, target, "--method", "ar", "--gap", "0.125:0.175")
    filled = read_audio(target)[0]
    assert np.abs(filled[2_000:2_800]).max() > 0.01
    np.testing.assert_array_equal(filled[6_000:6_800], 0.0)


def test_folders_and_patterns_are_looked_at(tapes: Path) -> None:
    labels = tapes.with_name("labels")
    text = run("detect", tapes, "--labels", labels).stdout
    assert "hole.wav: found 1 place of damage" in text
    assert "side/whole.wav: found 0 places" in text
    assert (labels / "hole.wav.txt").read_text().endswith("silence 1.00\n")
    assert (labels / "side/whole.wav.txt").read_text() == ""
    assert "exists" in refusal("detect", tapes, "--labels", labels)
    (tapes / "bad.wav").write_bytes(b"no audio")
    told = json.loads(run("detect", tapes / "**/*", "--json", status=1).stdout)
    assert [Path(each["source"]).name for each in told["files"]] == ["hole.wav", "whole.wav"]
    assert "target" not in told["files"][0]
    assert [Path(each["source"]).name for each in told["refused"]] == ["bad.wav"]
    assert "fits the pattern" in refusal("detect", tapes / "*.flac")
    assert run("inpaint", tapes, tapes.with_name("out"), "--gaps", labels, status=1)
    assert (tapes.with_name("out") / "hole.wav").is_file()


def test_only_the_damage_that_is_asked_for_is_told_and_filled(tapes: Path) -> None:
    source, target = tapes / "hole.wav", tapes / "good.wav"
    text = run("detect", source, "--kinds", "click,repeat").stdout
    assert "found 0 places" in text
    assert "1 place left out by the options" in text
    assert "found 1 place" in run("detect", source, "--longest-ms", 26).stdout
    assert "known: invalid" in refusal("detect", source, "--kinds", "clack")
    labels = tapes / "silence.txt"
    run("detect", source, "--kinds", "silence", "--labels", labels)
    run("inpaint", source, target, "--gaps", labels, "--method", "ar")
    assert np.abs(read_audio(target)[0][8_000:8_400]).max() > 0.01


@pytest.mark.usefixtures("at_once")
def test_doubtful_places_are_labelled_as_such_and_filled_on_request(tmp_path: Path) -> None:
    gated = tones(1, RATE, 2 * RATE)
    gated[np.arange(gated.size) % 2_240 >= 1_120] = 0.0
    source, labels = tmp_path / "in/gated.wav", tmp_path / "labels/gated.wav.txt"
    source.parent.mkdir()
    soundfile.write(source, gated, RATE, subtype="PCM_16")
    run("detect", tmp_path / "in", "--labels", labels.parent)
    lines = labels.read_text().splitlines()
    assert len(lines) > 10
    assert all("\tsilence 1.00 doubtful: " in line for line in lines)
    made = [tmp_path / name for name in ("found.wav", "labelled.wav")]
    given = ("--method", "ar", "--quality", "fast")
    assert "--doubtful" in refusal("inpaint", source, made[0], *given)
    assert "--doubtful fills them" in refusal("inpaint", source, made[1], "--gaps", labels, *given)
    run("inpaint", source, made[0], "--doubtful", *given)
    run("inpaint", source, made[1], "--doubtful", "--gaps", labels, *given)
    out = ("--out", tmp_path / "out", "--jobs", 1, *given)
    for gaps in ((), ("--gaps", labels.parent)):
        assert "1 doubtful" in run("repair", source.parent, *out, *gaps).stdout
        np.testing.assert_array_equal(
            read_audio(tmp_path / "out/gated.wav")[0], read_audio(source)[0]
        )
        run("repair", source.parent, *out, *gaps, "--doubtful")
        made.append(tmp_path / "out/gated.wav")
        filled = [read_audio(each)[0] for each in made]
        assert np.abs(filled[0][4_000:4_400]).max() > 0.01
        for each in filled[1:]:
            np.testing.assert_array_equal(each, filled[0])


@pytest.mark.usefixtures("at_once")
def test_a_repair_is_looked_at_before_it_is_done(tapes: Path) -> None:
    out, page, labels = (tapes.with_name(name) for name in ("out", "look.html", "labels.zip"))
    given = ("repair", tapes, "--out", out, "--method", "ar", "--jobs", 1)
    text = run(*given, "--dry-run", "--report", page).stdout
    assert "1 to repair, 1 sound, 0 failed" in text
    assert "nothing was written" in text
    assert "labels.zip" in page.read_text()
    assert not out.exists()
    with zipfile.ZipFile(labels, "w") as made:
        made.writestr("hole.wav.txt", "0.5\t0.525\tsilence 1.00\n")
    text = run(*given, "--gaps", labels).stdout
    assert "1 repaired, 0 sound, 1 not looked at" in text
    assert re.search(r" 1 hour of audio takes [\d.]+ (s|minutes|hours) of one core$", text, re.M)
    assert "the gaps are given" in misuse(*given, "--gaps", labels, "--kinds", "click")
    other = tapes.with_name("other.wav")
    run("inpaint", tapes / "hole.wav", other, "--gaps", labels, "--method", "ar")
    np.testing.assert_array_equal(read_audio(other)[0], read_audio(out / "hole.wav")[0])
    assert "no labels of whole.wav" in refusal(
        "inpaint", tapes / "side/whole.wav", tapes / "a.wav", "--gaps", labels
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("conceal", "in.wav"), "IN... or OUT is missing; give IN... OUT, OUT last"),
        (("lose", "in.wav"), "OUT is missing; give IN OUT"),
        (("detect",), "IN... is missing"),
        (("send", "in.wav"), "--to is missing; give --to udp://HOST:PORT"),
        (("detect", "a", "--min-confidence", "high"), "'high' will not do; give a number"),
        (("web", "--port", "high"), "'high' will not do; give a whole number"),
        (("repair", "a", "--out", "b", "--jobs", "-3"), "'-3' will not do; give at least 1"),
        (("c", "build", "--target", "x8664"), "did you mean 'x86_64'?"),
        (("inpaint", "a", "b", "--gap", "1:2", "--method", "repaet"), "did you mean 'repeat'?"),
        (("send", "a", "--to", "b", "--key", "x"), "--key is gone; give --key-file FILE"),
        (("impair", "--loss", "10%"), "--loss is gone; give plc impair loss=10%,burst=2"),
        (("bench", "latency", "--quick"), "--quick is gone; give --seconds 4"),
    ],
)
def test_a_misuse_is_said_in_words(arguments: tuple[str, ...], said: str) -> None:
    line = misuse(*arguments)
    assert said in line
    assert "Value error" not in line
    assert "Input should" not in line
