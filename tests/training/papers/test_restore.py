"""Damaged spectrograms: losses, interpolation, scores, and a run from audio to its table."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from plc.engine.models.manifest import Manifest
from plc.engine.networks.gap_filler import Hints
from plc.errors import ConfigError
from plc.papers.restore import (
    FULL_SCALE,
    HOP_SAMPLES,
    PATCH_SAMPLES,
    SAMPLE_RATE,
    Restorer,
)
from plc_training.cli import app
from plc_training.data.segments import Segments
from plc_training.papers.comparison import Asked
from plc_training.papers.damaged import (
    damaged,
    draw_lost,
    interpolated,
    loud_patches,
    magnitudes,
    ssim,
)
from plc_training.papers.restore import RestorePlan, RestoreSettings, RestoreTask
from plc_training.papers.restored import ALL_RESTORERS, _draw_patch, score_patches
from plc_training.train.recipe import parse_recipe
from plc_training.train.run import Place, open_best
from tests.options import options, ran
from tests.signals import tones
from tests.training.clips import segments_of, write_clips, write_manifest

RECIPE = """
[task]
kind = "restore"

[data]
domains = ["any"]

[settings]
network = "{network}"
width = 4
form = "{form}"

[schedule]
steps = {steps}
batch = 4
learning_rate = 5e-3
warm_up = 1
validate_every = {steps}

[model]
name = "restored"
content = "any"
licence = "MIT"
"""


def patches(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    made: Tensor = torch.rand(count, 1, 128, 128, generator=generator)
    return made


def segments(count: int = 4) -> Segments:
    samples = np.stack([tones(seed, SAMPLE_RATE, PATCH_SAMPLES) for seed in range(count)])
    return segments_of(samples)


def task(
    network: str = "unet-v2", form: str = "published", valid: Segments | None = None
) -> RestoreTask:
    settings = RestoreSettings(network=network, width=4, form=form)  # type: ignore[arg-type]
    made = segments()
    return RestoreTask(RestorePlan(domains=("any",)), settings, made, valid or made)


def test_a_patch_is_the_transform_of_each_frame() -> None:
    x = tones(0, SAMPLE_RATE, PATCH_SAMPLES)
    patch = magnitudes(torch.from_numpy(x)[None])
    assert patch.shape == (1, 1, 128, 128)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)
    for frame in (0, 77, 127):
        part = (x[64 * frame : 64 * frame + 256] * window)[:255]
        expected = np.abs(np.fft.rfft(part)) / FULL_SCALE
        np.testing.assert_allclose(patch[0, 0, :, frame], expected, atol=1e-5)


def test_lost_frames_are_as_many_as_published_and_follow_the_seed() -> None:
    lost = draw_lost(4000, np.random.default_rng(1))
    counts = lost.sum(axis=1)
    assert (counts.min(), counts.max()) == (12, 88)
    assert abs(counts.mean() - 50.0) < 1.5
    # Any frame as often as any other.
    assert np.ptp(lost.mean(axis=0)) < 0.06
    assert np.array_equal(lost, draw_lost(4000, np.random.default_rng(1)))
    assert not np.array_equal(lost, draw_lost(4000, np.random.default_rng(2)))


def test_interpolation_is_numpys() -> None:
    truth = patches(3)
    lost = draw_lost(3, np.random.default_rng(0))
    lost[0, :4] = lost[0, -3:] = True
    # What is in the lost frames is not looked at.
    filled = interpolated(damaged(truth, torch.from_numpy(lost)), torch.from_numpy(lost))
    place = np.arange(128)
    for patch, repaired, gone in zip(truth.numpy(), filled.numpy(), lost, strict=True):
        for bin_ in (0, 60, 127):
            expected = np.interp(place, place[~gone], patch[0, bin_, ~gone])
            np.testing.assert_allclose(repaired[0, bin_], expected, atol=1e-6)


def test_ssim_is_one_for_the_truth_and_its_definition_in_a_window() -> None:
    truth = patches(1)
    assert float(ssim(truth, truth)) == pytest.approx(1.0)
    x, y = truth[..., :7, :7] ** 2, truth[..., :7, :7]
    a, b = x.numpy().ravel().astype(float), y.numpy().ravel().astype(float)
    c1, c2 = (0.01 * b.max()) ** 2, (0.03 * b.max()) ** 2
    both = np.cov(a, b)
    expected = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
    expected *= (2 * both[0, 1] + c2) / (both[0, 0] + both[1, 1] + c2)
    assert float(ssim(x, y)) == pytest.approx(expected, rel=1e-6)
    # A level of a thousandth changes nothing: the range is the truth's own.
    assert float(ssim(1e-3 * x, 1e-3 * y)) == pytest.approx(expected, rel=1e-6)


def test_the_loss_counts_both_answers_and_the_code() -> None:
    for name in ("dual-res-unet-v2", "vae-res-unet-v2"):
        torch.manual_seed(0)
        made = task(name)
        network = made.make_network().train()
        batch = made.batch(2, np.random.default_rng(0))
        with torch.no_grad():
            output = network(*made.inputs(batch))
        alone = (output - batch["truth"]).square().mean()
        if name.startswith("dual"):
            before = network.network.before
            expected = alone + (before - batch["truth"]).square().mean()  # type: ignore[operator]
        else:
            divergence = network.network.network.code.divergence  # type: ignore[union-attr]
            expected = alone + 1e-6 * divergence  # type: ignore[operator]
        assert float(made.loss(output, batch)) == pytest.approx(float(expected), rel=1e-5)
        assert float(expected) > float(alone)


def test_both_answers_are_judged_at_the_level_of_the_patch() -> None:
    made = task("dual-res-unet-v2", "interpolated")
    network, batch = made.make_network().train(), made.batch(2, np.random.default_rng(0))
    losses = []
    for gain in (1.0, 0.1):
        scaled = batch | {"truth": gain * batch["truth"]}
        with torch.no_grad():
            losses.append(float(made.loss(network(*made.inputs(scaled)), scaled)))
    assert losses[0] - losses[1] == pytest.approx(2 * 20.0, abs=1e-2)  # dB, of two answers


@pytest.mark.parametrize("name", ["dual-res-unet-v2", "vae-res-unet-v2"])
def test_a_network_in_training_is_copied_without_its_last_batch(name: str) -> None:
    made = task(name, "interpolated")
    network, batch = made.make_network().train(), made.batch(2, np.random.default_rng(0))
    loss = made.loss(network(*made.inputs(batch)), batch)
    judged = copy.deepcopy(network).eval()  # as the loop does before it validates
    assert np.isfinite(made.validate(judged)["gain_db"])
    loss.backward()  # type: ignore[no-untyped-call]  # torch's
    assert all(value.grad is not None for value in network.parameters())


def test_validation_of_a_network_that_corrects_nothing_is_that_of_the_line() -> None:
    made = task("res-unet-v2", "interpolated")
    figures = made.validate(made.make_network().eval())
    assert figures["over_linear_db"] == pytest.approx(0.0, abs=1e-3)
    assert figures["gain_db"] > 5.0


def test_validation_leaves_out_patches_that_lost_nothing_but_silence() -> None:
    tonal = segments()
    # A click in the first frame alone, which is not among those that are lost.
    click = np.zeros((1, 1, PATCH_SAMPLES), np.int16)
    click[..., :HOP_SAMPLES] = 30_000
    assert list(loud_patches(click[0, 0] / np.float32(30_000), 1))
    assert not draw_lost(5, np.random.default_rng(0))[4, 0]
    valid = Segments(
        np.concatenate([tonal.lines, click]),
        np.append(tonal.gaps, np.int32(0)),
        np.append(tonal.peaks, np.float32(1.0)),
        np.append(tonal.domains, np.uint8(0)),
    )
    made = task("res-unet-v2", "interpolated", valid)
    figures = made.validate(made.make_network().eval())
    assert figures["over_linear_db"] == pytest.approx(0.0, abs=1e-3)
    assert figures["gain_db"] > 5.0
    assert np.isfinite(figures["psnr_db"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": "u-net"}, "settings.network is 'u-net'; expected unet or unet-v2"),
        ({"form": "log"}, "form"),
        ({"width": "2"}, "settings.width is 2; expected at least 4"),
    ],
)
def test_settings_that_cannot_be_trained_are_refused(change: dict[str, str], said: str) -> None:
    text = RECIPE.format(network="unet", form="published", steps=1)
    for key, value in change.items():
        quoted = value if key == "width" else f'"{value}"'
        lines = [
            f"{key} = {quoted}" if line.startswith(f"{key} =") else line
            for line in text.splitlines()
        ]
        text = "\n".join(lines)
    with pytest.raises(ConfigError, match=said):
        parse_recipe(text, "damaged", "damaged.toml")


@pytest.mark.deep
def test_a_run_is_kept_and_scored(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", 4, seconds=2.0)
    recipe = tmp_path / "damaged.toml"
    recipe.write_text(RECIPE.format(network="res-unet-v2", form="interpolated", steps=6))
    run = tmp_path / "run"
    arguments = ["train", str(recipe), "--data", str(tmp_path / "clips"), "--out", str(run)]
    for _ in range(2):  # the second finds all steps done
        ran(app, *arguments)
    scores = score_patches(*open_best(run, RestoreTask), [tmp_path / "clips"])
    assert len(scores.groups) == len(scores.values["ssim"]["network"]) == 4 * 3
    assert scores.difference("psnr_db", "linear", "damaged").mean > 5.0
    # A correction that has moved from none.
    assert abs(scores.difference("psnr_db", "network", "linear").mean) > 1e-3
    ran(app, "export", str(run), "--out", str(tmp_path / "models"))
    manifest = Manifest.read(tmp_path / "models" / "restored.json")
    assert (manifest.kind, manifest.drafts) == ("restore", ("linear",))
    _check_engine_answers_as_torch(manifest, run)
    given = options(unseen=tmp_path / "clips", count=2)
    shown = ran(app, "train papers", "restored", str(run), *given)
    assert "run, unseen works" in shown.output
    assert shown.output.splitlines()[-1].split()[:2] == ["all", "8"]


def test_a_patch_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    made = task("res-unet-v2", "interpolated")
    network = made.make_network().eval()
    (clip,) = write_clips(tmp_path, 1, seconds=1.2)
    _draw_patch(tmp_path / "patch.png", made, network, clip, 0.4)
    assert (tmp_path / "patch.png").read_bytes().startswith(b"\x89PNG")
    (short,) = write_clips(tmp_path / "short", 1, seconds=0.2)
    with pytest.raises(ConfigError, match="too short or too quiet for a patch"):
        _draw_patch(tmp_path / "none.png", made, network, short, 0.4)
    assert not (tmp_path / "none.png").exists()


def test_networks_are_trained_briefly_and_compared(tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "clips", 4, seconds=2.0)
    splits = ("train", "train", "train", "valid")
    rows = [(clip.name, "music", split) for clip, split in zip(clips, splits, strict=True)]
    write_manifest(tmp_path / "clips", rows)
    folder, names = tmp_path / "clips", ("fpn", "res-unet-v2")
    place = Place(data=(folder,), folder=tmp_path / "runs", cache=tmp_path / "cache")
    asked = Asked(place=place, names=names, unseen=(folder,), count=1)
    assert ALL_RESTORERS.train(asked, 2)
    table = {line.split()[0]: line.split() for line in ALL_RESTORERS.tell(asked)}
    assert int(table["fpn"][1]) < int(table["res-unet-v2"][1])
    assert float(table["res-unet-v2"][2]) > float(table["fpn"][2])  # a correction begins with none


def _check_engine_answers_as_torch(manifest: Manifest, run: Path) -> None:
    """Compare the patch, its interpolation and the answer in the engine with those of the task."""
    x = tones(5, SAMPLE_RATE, 3 * PATCH_SAMPLES)
    restorer = Restorer(manifest, SAMPLE_RATE)
    gap = (PATCH_SAMPLES, PATCH_SAMPLES + 640)
    received = np.ones(x.size, np.bool_)
    received[slice(*gap)] = False
    assert restorer.refine(x.copy(), *gap, x.size, Hints(received))
    patch, lost = (array[0] for array in restorer._session.inputs)
    answer = restorer._session.output[0]
    # 10 hops and the three frames before them, without the two that miss little.
    assert np.flatnonzero(lost).tolist() == list(range(58, 69))
    begin = gap[0] - (3 + 57) * HOP_SAMPLES
    made, network = open_best(run, RestoreTask)
    batch = made.batch_of(x[None, begin : begin + PATCH_SAMPLES], lost[None] > 0)
    shown, flags = made.inputs(batch)
    np.testing.assert_allclose(patch, shown[0].numpy(), atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(answer, network(shown, flags)[0].numpy(), atol=2e-3)


def test_clips_too_short_for_a_patch_are_told(tmp_path: Path) -> None:
    write_clips(tmp_path, 1, seconds=0.2)
    made = task()
    with pytest.raises(ConfigError, match="give longer clips"):
        score_patches(made, made.make_network().eval(), [tmp_path])
