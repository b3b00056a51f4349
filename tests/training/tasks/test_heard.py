"""The task that judges whole streams: its judges, its pieces, and what is learnt beside weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from plc import conceal
from plc.engine.loss import GilbertElliott
from plc.engine.models.catalogue import find
from plc.engine.models.manifest import Manifest
from plc.errors import ConfigError, MissingExtraError, ModelError
from plc_bench.scores.speech import pesq_wb, plcmos, plcmos_path
from plc_kernels.stream.layout import UNSTEADY_HOLD_MS
from plc_training.data.segments import DOMAINS, Segments
from plc_training.export import export_run
from plc_training.networks.frames import FramesNet, FramesShape
from plc_training.networks.onnx_graph import load_onnx
from plc_training.tasks.causal import CausalTask
from plc_training.tasks.heard import HeardSettings, HeardTask, _flat
from plc_training.tasks.heard_plan import JUDGED, PLAYED, REST, HeardPlan, share_of_fill
from plc_training.tasks.listeners import PesqOutline, Plcmos, drawn_raters, mapped
from plc_training.train.recipe import parse_recipe, read_recipe
from plc_training.train.run import Place, run_recipe
from tests.training.clips import segments_of, write_manifest

RATE = 16_000
SECONDS = 3.0
RECIPE = read_recipe("causal_speech_dense")
assert isinstance(RECIPE.train, HeardPlan)
assert isinstance(RECIPE.settings, HeardSettings)
PLAN = replace(RECIPE.train, piece_s=SECONDS)
SETTINGS = RECIPE.settings


def has_plcmos() -> bool:
    try:
        return plcmos_path().exists()
    except MissingExtraError:
        return False


with_plcmos = pytest.mark.skipif(
    not has_plcmos(), reason="PLCMOS needs speechmos: pip install --no-deps speechmos"
)


def speech(clip: int, seconds: float = SECONDS) -> NDArray[np.float32]:
    """Return the beginning of a clip of the repository's voice."""
    path = sorted((Path(__file__).parents[3] / "bench/data/speech").glob("*.flac"))[clip]
    signal, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    assert signal.size >= seconds * RATE
    out: NDArray[np.float32] = signal[: round(seconds * RATE)]
    return out


def damaged(signal: NDArray[np.float32], loss: float) -> NDArray[np.float32]:
    """Return a signal as linear prediction conceals it."""
    lost = GilbertElliott(loss, 1.5).trace(signal.size // 320, 3)
    return conceal(signal, lost, sample_rate=RATE, packet_samples=320, model="ar").astype(
        np.float32, copy=False
    )


def pieces(count: int = 2) -> Segments:
    rng = np.random.default_rng(0)
    made = [next(PLAN.cut(speech(seed), "speech", rng))[0] for seed in range(count)]
    return segments_of(np.array(made), 0, DOMAINS.index("speech"))


def network_of(model: Manifest) -> FramesNet:
    network = FramesNet(
        FramesShape(
            drafts=2,
            bins=161,
            context_frames=SETTINGS.context_frames,
            width=SETTINGS.width,
            draft_share=SETTINGS.draft_share,
            groups=SETTINGS.groups,
            early_adapters=SETTINGS.early_adapters,
            early_frames=SETTINGS.early_frames,
        )
    )
    load_onnx(model.onnx_path.read_bytes(), network, model.name)
    return network.eval()


def shipped() -> FramesNet:
    return network_of(find("speech"))


def test_without_the_fills_nothing_is_left_of_the_first_packets_of_bursts() -> None:
    made = list(PLAN.cut(speech(1, 2 * SECONDS), "speech", np.random.default_rng(1)))
    assert len(made) == 2
    for lines, judged in made:
        packets = lines[JUDGED, :: PLAN.packet_samples] > 0.0
        assert judged == PLAN.packet_samples * packets.sum()
        full = min(PLAN.packet_samples, round(UNSTEADY_HOLD_MS * RATE / 1000.0))
        bursts = PLAN.gaps(packets)
        assert len(bursts) >= 5
        left = [np.abs(lines[REST, start : start + full]).max() for start, _ in bursts]
        played = [np.abs(lines[PLAYED, start : start + full]).max() for start, _ in bursts]
        assert max(played) > 0.01
        assert np.median(left) <= 1e-6
        assert max(left) <= 1e-3 * np.abs(lines[PLAYED]).max()


def test_bursts_that_the_engine_drafts_otherwise_are_not_judged() -> None:
    plans = PLAN, replace(PLAN, rung=(20.0, 60.0))
    own, other = (
        sum(
            judged
            for seed in range(1, 4)
            for _, judged in plan.cut(speech(seed), "speech", np.random.default_rng(seed))
        )
        for plan in plans
    )
    # Near silence one draft is as good as another: 1 to 21 % of a single clip.
    assert other <= own / 5


def test_a_short_burst_is_heard_whole_and_then_leaves() -> None:
    share = share_of_fill(RATE, 320, 960)
    assert share[:320] == pytest.approx(1.0)
    assert np.all(np.diff(share[320:361]) <= 0.0)
    assert not share[360:].any()
    faded = share_of_fill(RATE, 9600, 1600)
    assert faded[:1280] == pytest.approx(1.0)
    assert 0.8 < faded[-1] < 0.95


def test_early_adapters_change_the_first_frames_once_they_have_learnt() -> None:
    torch.manual_seed(0)
    shape = FramesShape(drafts=2, bins=9, context_frames=2, width=8, groups=2)
    plain, early = FramesNet(shape), FramesNet(replace(shape, early_adapters=3, early_frames=4))
    early.load_state_dict(plain.state_dict())
    inputs = torch.randn(3, 2, 2, 9, 12), torch.rand(3, 12)
    expected = plain(*inputs).detach()
    torch.testing.assert_close(early(*inputs), expected, rtol=0, atol=1e-6)
    for name, weight in early.named_parameters():
        if name.startswith("early_"):
            torch.nn.init.normal_(weight)
    torch.testing.assert_close(early(*inputs)[..., 4:], expected[..., 4:], rtol=0, atol=1e-6)
    assert bool(((early(*inputs) - expected)[..., :4].abs().amax((0, 1, 2)) > 1e-3).all())


class Deaf(HeardTask):
    """The task without its judges."""

    def __init__(self, segments: Segments) -> None:
        CausalTask.__init__(self, PLAN.bursts, SETTINGS, segments, segments)
        self._pieces = PLAN


def test_the_distance_of_roots_is_that_of_magnitudes() -> None:
    segments = pieces()
    task = Deaf(segments)
    batch = task._heard(segments, np.arange(2), 0)
    truth = batch["truth"]
    assert float(task._root_distance(truth, batch)) == pytest.approx(0.0, abs=1e-10)
    assert float(task._root_distance(4.0 * truth, batch)) == pytest.approx(1.0, abs=0.05)
    assert float(task._root_distance(-truth, batch)) == pytest.approx(0.0, abs=1e-6)
    silent = torch.zeros_like(truth).requires_grad_()
    task._root_distance(silent, batch).backward()  # type: ignore[no-untyped-call]
    assert silent.grad is not None
    assert bool(torch.isfinite(silent.grad).all())


def test_the_distance_of_bands_is_that_of_their_power() -> None:
    segments = pieces()
    task = Deaf(segments)
    batch = task._heard(segments, np.arange(2), 0)
    loud = torch.where(batch["truth"] == 0.0, 1e-3, batch["truth"])
    batch["truth"] = loud
    same = task._band_distance(loud, batch)
    assert [float(value) for value in same] == [0.0, 0.0]
    distance, bias = (float(value) for value in task._band_distance(2.0 * loud, batch))
    # 6 dB but for what lies below the floor.
    assert 4.0 < distance <= 6.03
    assert bias == pytest.approx(distance, abs=1e-3)


@with_plcmos
def test_plcmos_is_that_of_its_file() -> None:
    clip = damaged(speech(2), 0.2)
    generator = np.random.default_rng(0)
    raters = torch.tensor(generator.standard_normal((15, 64)), dtype=torch.float32)
    heard = Plcmos()(torch.from_numpy(clip)[None], raters)
    assert float(heard) == pytest.approx(plcmos(clip), abs=0.02)


def test_the_outline_of_pesq_orders_damage_as_pesq_does() -> None:
    pytest.importorskip("pesq")
    signal = speech(0, 8.0)
    outline = PesqOutline()
    found, expected = [], []
    for loss in (0.02, 0.05, 0.1, 0.2, 0.3):
        played = damaged(signal, loss)
        score = outline(torch.from_numpy(signal)[None], torch.from_numpy(played)[None])
        found.append(float(mapped(score)))
        expected.append(pesq_wb(signal, played))
    assert np.corrcoef(found, expected)[0, 1] > 0.98
    assert np.abs(np.array(found) - expected).max() < 0.2


@with_plcmos
def test_the_network_that_played_the_pieces_is_heard_as_they_were_played() -> None:
    segments = pieces()
    task = HeardTask(PLAN, SETTINGS, segments, segments)
    with torch.no_grad():
        figures = task.validate(shipped())
    generator = torch.Generator().manual_seed(0)
    raters = torch.randn(15, 64, generator=generator)
    played = torch.from_numpy(
        segments.lines[:, PLAYED].astype(np.float32) * (segments.peaks / 30_000)[:, None]
    )
    assert figures["plcmos"] == pytest.approx(float(Plcmos()(played, raters).mean()), abs=0.03)


@with_plcmos
def test_pieces_are_judged_together_as_alone() -> None:
    segments = pieces(3)
    task = HeardTask(PLAN, SETTINGS, segments, segments)
    network = shipped()
    batch = task._heard(segments, np.arange(3), 0)
    bursts = batch["real"].sum(1)
    assert len(set(bursts.tolist())) > 1
    spectra, lost = task.inputs(batch)
    assert len(spectra) == len(lost) == int(bursts.sum())
    with torch.no_grad():
        fill = task._fill(network(spectra, lost), _flat(batch))
        together = scores(task, fill, batch)
        for piece in range(3):
            one = task._heard(segments, np.array([piece]), 0)
            alone = scores(task, task._fill(network(*task.inputs(one)), _flat(one)), one)
            for all_of_them, single in zip(together, alone, strict=True):
                assert float(all_of_them[piece]) == pytest.approx(float(single), abs=2e-4)


def scores(
    task: HeardTask, fill: torch.Tensor, batch: dict[str, torch.Tensor]
) -> list[torch.Tensor]:
    streams = task._streams(fill, batch)
    raters = drawn_raters(2, torch.Generator().manual_seed(0))
    return [task._plcmos_of(streams, raters), task._pesq_of(streams, batch)]


@with_plcmos
@pytest.mark.deep
def test_a_training_gives_a_model(tmp_path: Path) -> None:
    library = tmp_path / "clips"
    library.mkdir()
    rows = []
    for seed, split in enumerate(("train", "train", "valid")):
        soundfile.write(library / f"clip{seed}.wav", speech(seed), RATE)
        rows.append((f"clip{seed}.wav", "speech", split))
    write_manifest(library, rows)
    text = RECIPE.text.replace("piece_s = 5.0", "piece_s = 3.0")
    recipe = parse_recipe(text, "heard", "heard").with_steps(2)
    place = Place(data=(library,), folder=tmp_path / "run", cache=tmp_path / "cache")
    ending = run_recipe(recipe, place, accelerator="cpu")
    assert ending is not None
    exported = export_run(tmp_path / "run", tmp_path / "models")
    before, after = find("speech"), exported.manifest
    assert (after.kind, after.drafts, after.horizon_ms) == ("causal", before.drafts, 100.0)
    assert after.sha256 != before.sha256
    again, kept = network_of(after).state_dict(), shipped().state_dict()
    for name in ("enter.weight", "early_head.up.weight"):
        assert not torch.equal(again[name], kept[name])


def test_a_model_that_is_not_there_is_named() -> None:
    text = RECIPE.text.replace('model = "speech"', 'model = "nobody"')
    with pytest.raises(ModelError, match="model is 'nobody'"):
        parse_recipe(text, "r", "r")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sample_rate = 16000\npacket", "sample_rate = 48000\npacket", "the judges hear 16000"),
        ("piece_s = 5.0", "piece_s = 1.0", "more than 1 s"),
        ("losses = [0.1, 0.2, 0.33, 0.45, 0.5]", "losses = [0.1]", "burst has 5 values"),
        ("horizon_frames = 20", "horizon_frames = 24", "fills 1600 samples"),
        ("horizon = 2160", "horizon = 1200", "data.margin and data.horizon"),
        ('model = "speech"', 'model = "music"', "from contour, ar_contour"),
        ('model = "speech"', 'model = "speech"\nmodel_sha256 = "0"', "expected 0"),
        ("width = 224", "width = 224\ncolour_db = 5", "settings.colour_db is 5"),
        ("early_frames = 6", "", "settings.early_frames is 0"),
    ],
)
def test_what_no_training_survives_is_refused(old: str, new: str, message: str) -> None:
    assert old in RECIPE.text
    with pytest.raises(ConfigError, match=message):
        parse_recipe(RECIPE.text.replace(old, new), "r", "r")
