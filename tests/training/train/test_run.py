"""From audio files to a model that conceals, by the commands as they are typed."""

import json
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from filelock import FileLock
from safetensors.torch import load_file

from plc import Concealer, conceal, inpaint
from plc.embed.library import Library
from plc.engine.models.manifest import Manifest
from plc.errors import ConfigError, ModelError
from plc.programs.cli.app import app
from plc_training import export as export_module
from plc_training.data.segments import Segments
from plc_training.export import export_run
from plc_training.train.display import Display
from plc_training.train.journal import read_log
from plc_training.train.loop import BEST, CHECKPOINT, Event
from plc_training.train.recipe import parse_recipe, read_recipe
from plc_training.train.run import (
    Place,
    few,
    run_recipe,
    stop_on_signals,
    stopped_status,
)
from tests.options import ran
from tests.plc.embed.c_side import (
    EXAMPLE,
    ROOT,
    TOLERANCE,
    compiled,
    recording,
    run,
)
from tests.signals import noise, tones
from tests.training.clips import write_clips, write_corrupt, write_manifest


class Bench:
    """A library, a cache and folders for runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.library = root / "clips"
        write_clips(self.library, 4)
        write_corrupt(self.library)
        rows = [(f"clip{k}.wav", "music", "train") for k in range(3)]
        write_manifest(
            self.library,
            [*rows, ("clip3.wav", "music", "valid"), ("corrupt.flac", "music", "train")],
        )

    def place(self, name: str) -> Place:
        return Place(data=(self.library,), folder=self.root / name, cache=self.root / "cache")

    def command(self, recipe: str, name: str, *more: str) -> list[str]:
        place = self.place(name)
        paths = [
            "--data",
            str(self.library),
            "--out",
            str(place.folder),
        ]
        return ["train", recipe, *paths, "--accelerator", "cpu", *more]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def said(bench: Bench) -> str:
    """Return what the command said that trained the run named first."""
    result = ran(app, *bench.command("tiny", "first"))
    return result.output


def test_the_command_trains_and_says_what_is_next(bench: Bench, said: str) -> None:
    folder = bench.root / "first"
    assert "left out: corrupt.flac: AudioFileError" in said
    assert re.search(r"segments to train: \d+ of music", said)
    assert "the same command goes on where it stopped" in said
    assert "step 12 of 12: all steps are done" in said
    assert f"next: plc export {folder}" in said
    assert [line["step"] for line in read_log(folder)] == [4, 8, 12]
    assert list((folder / "tensorboard").iterdir())


@pytest.mark.usefixtures("said")
def test_a_run_stopped_by_ctrl_c_goes_on_to_the_same_weights(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plc_training.train import journal

    note = journal.Journal.note
    steps: list[int] = []

    def interrupt(self: journal.Journal, event: Event) -> None:
        note(self, event)
        steps.append(event.step)
        if event.step == 5:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(journal.Journal, "note", interrupt)
    stopped = ran(app, *bench.command("tiny", "stopped"), status=130)
    assert "stopping after this step" in stopped.output
    assert "step 6 of 12: stopped; the same command goes on from here" in stopped.output
    resumed = ran(app, *bench.command("tiny", "stopped"))
    assert "going on at step 6 of 12" in resumed.output
    assert steps == list(range(1, 13))
    first, second = (load_file(bench.root / run / CHECKPOINT) for run in ("first", "stopped"))
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    logs = [list(read_log(bench.root / run)) for run in ("first", "stopped")]
    assert [line["gain_db"] for line in logs[0]] == [line["gain_db"] for line in logs[1]]


@pytest.mark.usefixtures("said")
def test_a_folder_of_another_recipe_or_of_other_data_is_refused(bench: Bench) -> None:
    recipe = read_recipe("tiny")
    with pytest.raises(ConfigError, match="another recipe or of other data"):
        run_recipe(recipe.with_steps(13), bench.place("first"), accelerator="cpu")
    before = (bench.root / "first" / "recipe.toml").read_text()
    other = recipe.text.replace("seed = 0", "").replace(
        "gaps_ms = [32.0, 40.0]", "gaps_ms = [40.0]"
    )
    with pytest.raises(ConfigError, match="another recipe or of other data"):
        run_recipe(parse_recipe(other, "tiny", "x"), bench.place("first"), accelerator="cpu")
    assert (bench.root / "first" / "recipe.toml").read_text() == before


@pytest.mark.usefixtures("said")
def test_a_recipe_begins_from_anothers_weights(bench: Bench) -> None:
    text = read_recipe("tiny").text.replace("[data]", 'begin_from = "first"\n\n[data]', 1)
    recipe = parse_recipe(text.replace("learning_rate = 2e-3", "learning_rate = 1e-12"), "f", "f")
    run_recipe(recipe.with_steps(1), bench.place("finer"), accelerator="cpu")
    before, after = (
        load_file(bench.root / run / name) for run, name in (("first", BEST), ("finer", CHECKPOINT))
    )
    for name, value in after.items():
        if name.startswith("network."):
            mean = before[name.replace("network.", "mean.")]
            torch.testing.assert_close(value, mean, atol=1e-6, rtol=0)
    absent = parse_recipe(text.replace('"first"', '"nowhere"'), "f", "f")
    with pytest.raises(ConfigError, match="run plc train nowhere first"):
        run_recipe(absent, bench.place("never"), accelerator="cpu")


@pytest.mark.usefixtures("said")
def test_a_recipe_begins_from_a_model(bench: Bench, model: Manifest) -> None:
    text = read_recipe("tiny").text.replace("learning_rate = 2e-3", "learning_rate = 1e-12")
    begun = text.replace("[data]", f'begin_from = "model:{model.path}"\n\n[data]', 1)
    run_recipe(parse_recipe(begun, "f", "f").with_steps(1), bench.place("more"), accelerator="cpu")
    facts = json.loads((bench.root / "more" / "run.json").read_text())
    assert facts["after"] == [f"tiny, {model.training['step']} steps"]
    first, more = (load_file(bench.root / run / BEST) for run in ("first", "more"))
    for name, value in first.items():
        if name.startswith("mean."):
            # A model's weights are rounded to half precision.
            torch.testing.assert_close(more[name], value, atol=1e-6, rtol=5e-4)
    other = text.replace("[data]", 'begin_from = "model:speech"\n\n[data]', 1)
    with pytest.raises(ConfigError, match="holds the weights of another network"):
        run_recipe(parse_recipe(other, "f", "f"), bench.place("never"), accelerator="cpu")


@pytest.fixture(scope="module")
def model(bench: Bench, said: str) -> Manifest:
    out = bench.root / "models"
    figure = ["--figure", "test SNR_MS music=9.25"]
    result = ran(app, "export", str(bench.root / "first"), "--out", str(out), *figure)
    assert "torch and ONNX Runtime differ by" in result.output
    assert "ms on one thread" in result.output
    return Manifest.read(out / "tiny.json")


def test_the_manifest_says_what_was_trained(model: Manifest) -> None:
    assert (model.kind, model.content, model.licence) == ("inpaint", "any", "MIT")
    assert model.drafts == ("forward", "backward", "interpolated")
    assert (model.bin_hz, model.top_hz, model.sample_rates) == (62.5, 8000.0, (16_000, 16_000))
    assert (model.context_frames, model.context_frames_after) == (4, 4)
    assert model.horizon_ms == 40.0
    assert model.frames(16_000) == 4 + 10 + 3 + 4
    assert model.bins(16_000) == 129
    assert model.figures["test SNR_MS music"] == 9.25
    assert "valid gain_db" in model.figures
    assert model.training["recipe"] == "tiny"
    assert model.training["seed"] == 0
    assert model.training["step"] in (4, 8, 12)
    assert "/" not in json.dumps({**model.training})


def test_the_model_fills_the_gaps_of_a_file(model: Manifest) -> None:
    signal = tones(3, 16_000, 16_000) + noise(4, 16_000, 0.01)
    gaps = [(4000, 4640), (9000, 9320)]
    with_it, without = (
        inpaint(signal, gaps, sample_rate=16_000, model=name) for name in (str(model.path), "ar")
    )
    for start, stop in gaps:
        part = slice(start, stop)
        assert not np.array_equal(with_it[part], without[part])
        error = np.square(with_it[part] - signal[part]).sum()
        assert error < 0.5 * np.square(signal[part]).sum()
        with_it[part] = signal[part]
    np.testing.assert_array_equal(with_it, signal)


def test_a_graph_that_differs_is_not_written(
    bench: Bench, model: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = model.onnx_path.read_bytes()
    other = onnx.load_from_string(before)
    [bias] = [each for each in other.graph.initializer if each.name == "head.bias"]
    changed = onnx.numpy_helper.to_array(bias).copy()
    changed[0] += 1e-3
    bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))
    monkeypatch.setattr(export_module, "to_onnx", lambda *given: other.SerializeToString())
    with pytest.raises(ModelError, match="differs from torch's"):
        export_run(bench.root / "first", bench.root / "models")
    result = ran(app, "export", str(bench.root / "first"), status=1)
    assert "nothing was written" in result.output
    assert not (bench.root / "first" / "tiny.onnx").exists()
    assert model.onnx_path.read_bytes() == before


def test_what_is_no_run_is_not_exported(tmp_path: Path) -> None:
    result = ran(app, "export", str(tmp_path), status=1)
    assert "holds no run of plc train" in result.output


@pytest.mark.parametrize("figure", ["nothing", "=3", "x=high"])
def test_a_figure_without_name_or_value_is_misuse(bench: Bench, figure: str) -> None:
    ran(app, "export", str(bench.root), "--figure", figure, status=2)


def test_an_unknown_recipe_is_refused_in_one_line(tmp_path: Path) -> None:
    result = ran(app, "train", "tyni", "--data", str(tmp_path), status=1)
    assert result.output.count("\n") == 1
    assert "in the package: " in result.output


def test_a_library_of_other_domains_is_refused(bench: Bench, tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", 2)
    recipe = read_recipe("causal_speech")
    place = Place(data=(tmp_path / "clips",), folder=tmp_path / "run", cache=tmp_path / "cache")
    with pytest.raises(ConfigError, match="--domain says what"):
        run_recipe(recipe, place, accelerator="cpu")


def test_two_trainings_do_not_share_a_folder(bench: Bench) -> None:
    (bench.root / "busy").mkdir()
    with FileLock(bench.root / "busy" / "training.lock"):
        refused = ran(app, *bench.command("tiny", "busy", "--steps", "1"), status=1)
    assert "another training is at work in" in refused.output
    assert not (bench.root / "busy" / "recipe.toml").exists()
    ran(app, *bench.command("tiny", "busy", "--steps", "1"))


def test_several_libraries_are_one(bench: Bench, tmp_path: Path) -> None:
    write_clips(tmp_path / "more", 3)
    write_manifest(tmp_path / "more", [(f"clip{k}.wav", "music", "train") for k in range(3)])
    facts = {}
    for name, more in (("one", []), ("two", ["--data", str(tmp_path / "more")])):
        ran(app, *bench.command("tiny", name, "--steps", "1", *more))
        facts[name] = json.loads((bench.root / name / "run.json").read_text())
    assert facts["one"]["library"] == "clips"
    assert facts["two"]["library"] == "clips + more"
    assert facts["two"]["segments"]["music"] > facts["one"]["segments"]["music"]
    assert facts["two"]["valid_segments"] == facts["one"]["valid_segments"]


def test_clips_that_are_kept_to_test_with_are_left_out(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", 4)
    counts = {}
    for pattern in ("nothing*", "clip[01].wav"):
        text = read_recipe("tiny").text.replace("[data]", f'leave_out = ["{pattern}"]\n[data]', 1)
        place = Place(
            data=(tmp_path / "clips",), folder=tmp_path / pattern, cache=tmp_path / "cache"
        )
        run_recipe(parse_recipe(text, "t", "t").with_steps(1), place, accelerator="cpu")
        made = json.loads((place.folder / "run.json").read_text())
        counts[pattern] = sum(made["segments"].values())
    assert 0 < counts["clip[01].wav"] < counts["nothing*"]


def test_the_causal_recipe_trains_and_exports(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran(app, *bench.command("tiny_causal", "causal", "--steps", "3"))
    made = export_run(bench.root / "causal", bench.root / "models")
    assert made.free_frames
    assert made.manifest.kind == "causal"
    assert made.manifest.drafts == ("contour", "ar_contour")
    assert made.manifest.horizon_ms == 30.0
    model = str(bench.root / "models" / "tiny-causal.json")
    concealer = Concealer(16_000, 1, 320, model=model, budget_ms=float("inf"))
    for packet in tones(1, 16_000, 16_000).reshape(-1, 320):
        concealer.push(packet)
    for _ in range(2):
        assert np.isfinite(concealer.push(None)).all()
    assert concealer.stats.network.network_done == 1
    # The graph is the same for any horizon.
    graph = made.manifest.onnx_path.read_bytes()
    monkeypatch.setattr(export_module, "to_onnx", lambda *given: graph)
    longer = (bench.root / "causal" / "recipe.toml").read_text().replace("horizon_ms = 30.0\n", "")
    (bench.root / "causal" / "recipe.toml").write_text(longer)
    assert export_run(bench.root / "causal", bench.root / "longer").manifest.horizon_ms == 45.0


@pytest.mark.deep
def test_the_bridge_recipe_trains_and_a_stream_runs_what_it_exports(bench: Bench) -> None:
    ran(app, *bench.command("tiny_bridge", "bridge", "--steps", "3"))
    made = export_run(bench.root / "bridge", bench.root / "models")
    assert made.manifest.kind == "bridge"
    assert made.manifest.drafts == (
        "contour_forward",
        "contour_backward",
        "contour_bridge",
    )
    assert (made.manifest.context_frames, made.manifest.context_frames_after) == (4, 1)
    assert made.manifest.horizon_ms == 20.0
    model = str(bench.root / "models" / "tiny-bridge.json")
    concealer = Concealer(16_000, 1, 320, lookahead=1, model=model, budget_ms=float("inf"))
    for packet in tones(1, 16_000, 16_000).reshape(-1, 320):
        concealer.push(packet)
    concealer.push(None)
    concealer.push(np.zeros(320, np.float32))
    assert concealer.stats.rung_samples["network:tiny-bridge"] == 320
    assert concealer.stats.network.network_done == 1


MODEL_PROBE = ROOT / "tests" / "plc" / "embed" / "model_probe.mjs"
SPEECH = {
    'domains = ["music", "any"]': 'domains = ["music"]',
    "margin = 720": "margin = 1920",
    "horizon = 960": "horizon = 1440",
    "context_frames = 4": "context_frames = 16\ndraft_share = 0.25",
    "horizon_ms = 30.0": "horizon_ms = 60.0",
    'content = "any"': 'content = "speech"',
}
BRIDGE = {
    "margin = 720": "margin = 1920",
    "context_frames = 4": "context_frames = 16\ncontext_frames_after = 1",
}


@pytest.mark.system
@pytest.mark.parametrize(
    ("recipe", "changes", "widths"),
    [
        ("tiny_causal", SPEECH, ("width = 16", "width = 112")),
        ("tiny_causal", SPEECH, ("width = 16", "width = 448")),
        (
            "tiny_bridge",
            BRIDGE,
            ("channels = [8, 12]\ngru = 16", "channels = [16, 16, 16, 24, 24]\ngru = 48"),
        ),
        (
            "tiny_bridge",
            BRIDGE,
            ("channels = [8, 12]\ngru = 16", "channels = [32, 48, 64, 80, 96]\ngru = 192"),
        ),
    ],
    ids=["half", "twice", "a narrow bridge", "twice a bridge"],
)
def test_any_width_plays_the_same_in_python_in_c_and_on_a_page(
    bench: Bench,
    built: Library,
    tmp_path: Path,
    recipe: str,
    changes: dict[str, str],
    widths: tuple[str, str],
) -> None:
    """Trained for ten steps, exported, and heard."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    text = read_recipe(recipe).text
    for old, new in [*changes.items(), widths]:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "own.toml").write_text(text)
    command = bench.command(str(tmp_path / "own.toml"), str(tmp_path / "run"), "--steps", "10")
    ran(app, *command)
    model = str(export_run(tmp_path / "run", tmp_path).manifest.path)
    ran(app, "c", "models", model, "--out", str(tmp_path / "models"))
    signal = recording("speech", 16_000).astype(np.float32)
    signal = signal[: signal.size // 320 * 320]
    soundfile.write(tmp_path / "in.wav", signal, 16_000, "FLOAT")
    lookahead = int(recipe == "tiny_bridge")
    c: list[str | Path] = [compiled(EXAMPLE, built), tmp_path / "in.wav", tmp_path / "c.wav"]
    c += ["--packet", "320", "--lookahead", str(lookahead), "--content", "speech"]
    c += ["--loss", "20%", "--burst", "1.5", "--write-trace", tmp_path / "lost"]
    done = run(*c, "--models", tmp_path / "models" / "all.plcm")
    assert done.returncode == 0, done.stderr
    served = re.search(r"^(\d+) of them with a network$", done.stdout, re.MULTILINE)
    assert served is not None
    assert int(served[1]) > 0
    trace = np.array([each == "1" for each in (tmp_path / "lost").read_text().strip()])
    heard = np.append(soundfile.read(tmp_path / "c.wav", dtype="float32")[0], [])
    python = conceal(
        signal,
        trace,
        sample_rate=16_000,
        packet_samples=320,
        lookahead=lookahead,
        content="speech",
        model=model,
    )
    np.testing.assert_allclose(heard, python, atol=TOLERANCE)
    signal.tofile(tmp_path / "in.f32")
    page = run(
        "node",
        MODEL_PROBE,
        ROOT / "plc" / "data" / "web",
        tmp_path / "models" / "all.plcm",
        tmp_path,
        str(lookahead),
    )
    assert page.returncode == 0, page.stderr
    np.testing.assert_allclose(np.fromfile(tmp_path / "out.f32", "f4"), python, atol=TOLERANCE)


def test_few_are_as_many_of_each_domain() -> None:
    domains = np.array([0] * 50 + [1] * 3 + [2] * 10, np.uint8)
    count = domains.size
    whole = Segments(
        np.zeros((count, 1, 4), np.int16),
        np.arange(count, dtype=np.int32),
        np.ones(count, np.float32),
        domains,
    )
    some = few(whole, 15)
    assert np.bincount(some.domains).tolist() == [6, 3, 6]
    np.testing.assert_array_equal(some.domains, domains[some.gaps])
    assert few(whole, 0) is few(whole, 100) is whole


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_the_second_signal_ends_at_once(number: signal.Signals, error: type[BaseException]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signals(Display(quiet=True)) as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(error):
            signal.raise_signal(number)
    assert stopped_status() == 128 + number
    assert signal.getsignal(signal.SIGINT) is before
