"""The training loop: exactness, devices, endings."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file
from torch import Tensor, nn

from plc.errors import ConfigError
from plc_training.tasks.base import Turn
from plc_training.train import loop
from plc_training.train.checkpoint import read_progress
from plc_training.train.loop import (
    BEST,
    CHECKPOINT,
    Ending,
    Reason,
    Schedule,
    affordable_precision,
    available_accelerator,
    learning_rate,
    open_devices,
    train,
)
from plc_training.train.recipe import parse_recipe, read_recipe
from tests.training.toy import AdversarialTask, ToyTask
from tests.training.two_devices import SCHEDULE as SHARED
from tests.training.two_devices import tasks as shared_tasks

ROOT = Path(__file__).parents[3]
SCHEDULE = Schedule(steps=10, batch=8, validate_every=4, warm_up=3, learning_rate=1e-2, seed=3)


def trained(
    folder: Path,
    schedule: Schedule = SCHEDULE,
    stop_at: int = 0,
    task: type[ToyTask] = ToyTask,
) -> Ending:
    steps: list[int] = []
    return train(
        task(),
        schedule,
        folder,
        "toy",
        [lambda event: steps.append(event.step)],
        open_devices(accelerator="cpu"),
        should_stop=lambda: bool(stop_at) and len(steps) + 1 >= stop_at,
    )


def tensors(path: Path) -> dict[str, Tensor]:
    return load_file(path)


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


@pytest.mark.parametrize(
    ("task", "optimiser"), [(ToyTask, "adamw"), (ToyTask, "muon"), (AdversarialTask, "adamw")]
)
@pytest.mark.parametrize("stop_at", [1, 4, 7])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    tmp_path: Path, stop_at: int, task: type[ToyTask], optimiser: str
) -> None:
    schedule = replace(SCHEDULE, optimiser=optimiser)
    stopped = trained(tmp_path / "a", schedule, stop_at, task)
    assert stopped.reason is Reason.STOPPED
    assert stopped.progress.step == stop_at
    assert read_progress(tmp_path / "a" / CHECKPOINT) == stopped.progress
    # A generator that somebody used in between makes no difference.
    torch.manual_seed(12345)
    again = trained(tmp_path / "a", schedule, task=task)
    whole = trained(tmp_path / "b", schedule, task=task)
    assert again == whole
    for name in (CHECKPOINT, BEST):
        assert_equal(tensors(tmp_path / "a" / name), tensors(tmp_path / "b" / name))


def test_the_mean_of_the_weights_follows_the_first_player(tmp_path: Path) -> None:
    trained(tmp_path, task=AdversarialTask)
    kept = tensors(tmp_path / CHECKPOINT)
    for name, value in kept.items():
        if name.startswith("network."):
            mean = kept[name.replace("network.", "mean.", 1)]
            averaged = name.startswith("network.generator.") and value.is_floating_point()
            assert torch.equal(value, mean) is not averaged, name


class Alone(AdversarialTask):
    """Only the second critic ever moves."""

    def turns(self, step: int) -> tuple[Turn, ...]:
        return super().turns(0)[1:2]


def test_a_turn_changes_its_players_weights_alone(tmp_path: Path) -> None:
    trained(tmp_path, task=Alone)
    kept = tensors(tmp_path / CHECKPOINT)
    torch.manual_seed(SCHEDULE.seed)
    begun = dict(Alone().make_network().named_parameters())
    moved = {name for name, value in begun.items() if not value.equal(kept[f"network.{name}"])}
    assert moved == {name for name in begun if name.startswith("critics.1.")}


def test_players_learn_from_each_other(tmp_path: Path) -> None:
    schedule = Schedule(
        steps=250,
        batch=32,
        validate_every=250,
        learning_rate=1e-2,
        warm_up=1,
        beta1=0.5,
        beta2=0.9,
        weight_decay=0.0,
        clip_norm=0.0,
    )
    ending = trained(tmp_path, schedule, task=AdversarialTask)
    # It begins about 3.2 away.
    assert ending.progress.best > -0.6


def test_a_run_is_continued_by_a_recipe_that_names_the_default_of_beta1() -> None:
    text = read_recipe("tiny").text
    plain = parse_recipe(text, "a", "a.toml").fingerprint()
    for beta1, same in ((0.9, True), (0.5, False)):
        named = text.replace("[schedule]", f"[schedule]\nbeta1 = {beta1}")
        assert (parse_recipe(named, "a", "a.toml").fingerprint() == plain) is same


def test_a_run_that_is_done_is_left_alone(tmp_path: Path) -> None:
    first = trained(tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    assert trained(tmp_path) == first
    assert (tmp_path / CHECKPOINT).read_bytes() == before


class Worsening(ToyTask):
    """Its figures fall, but for the second one."""

    def validate(self, network: nn.Module) -> dict[str, float]:
        self.validations += 1
        return {"figure": 5.0 if self.validations == 2 else -float(self.validations)}


def test_the_best_weights_are_kept(tmp_path: Path) -> None:
    schedule = Schedule(steps=10, batch=8, validate_every=2)
    fabric = open_devices(accelerator="cpu")
    ending = train(Worsening(), schedule, tmp_path, "toy", fabric=fabric)
    assert (ending.progress.step, ending.progress.best_step, ending.progress.best) == (10, 4, 5.0)
    assert read_progress(tmp_path / BEST).step == 4


def test_another_recipes_folder_is_refused(tmp_path: Path) -> None:
    trained(tmp_path)
    with pytest.raises(ConfigError, match="a run of another recipe"):
        train(ToyTask(), SCHEDULE, tmp_path, "other", fabric=open_devices(accelerator="cpu"))


class Exploding(ToyTask):
    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return super().loss(output, batch) * math.inf


def test_a_loss_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lower the learning rate"):
        train(Exploding(), SCHEDULE, tmp_path, "toy", fabric=open_devices(accelerator="cpu"))
    assert not (tmp_path / CHECKPOINT).exists()


def test_the_learning_rate_rises_and_falls() -> None:
    cosine = Schedule(steps=100, warm_up=10, learning_rate=1.0)
    rates = [learning_rate(cosine, step) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[50] == pytest.approx(0.5)
    assert rates[-1] < 1e-3


def test_the_papers_learning_rate_falls_to_a_tenth() -> None:
    tenth = Schedule(steps=800, warm_up=0, learning_rate=1e-3, decay="tenth")
    assert {learning_rate(tenth, step) for step in range(600)} == {1e-3}
    assert {round(learning_rate(tenth, step), 12) for step in range(600, 800)} == {1e-4}


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("batch", "-1", "a whole number, at least 1"),
        ("learning_rate", "nan", "a number, above 0, at most 1"),
        ("beta1", "1.0", "a number, at least 0, below 1"),
        ("beta2", "1.0", "a number, at least 0, below 1"),
        ("checkpoint_s", "inf", "a number, at least 0"),
        ("decay", "'linear'", "cosine or none or tenth"),
        ("optimiser", "'sgd'", "adamw or muon"),
        ("precision", "'8'", "32-true or bf16-mixed"),
    ],
)
def test_a_schedule_out_of_range_is_refused_by_its_name(
    field: str, value: str, expected: str
) -> None:
    text = read_recipe("tiny").text.split("[schedule]")[0]
    steps = "" if field == "steps" else "steps = 10\n"
    card = '[model]\nname = "a"\ncontent = "any"\nlicence = "MIT"\n'
    text += f"[schedule]\n{steps}{field} = {value}\n{card}"
    with pytest.raises(ConfigError, match=rf"a.toml: schedule\.{field} is {value}; .* {expected}$"):
        parse_recipe(text, "a", "a.toml")


def test_two_devices_train_as_one_does(tmp_path: Path) -> None:
    roots = [str(ROOT / part) for part in (".", "kernels", "bench", "training")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(roots), "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*run, "-m", "tests.training.two_devices", str(tmp_path)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    fabric = open_devices(accelerator="cpu")
    for kind, task in shared_tasks().items():
        paths = [tmp_path / f"{kind}{rank}.pt" for rank in range(2)]
        ranks = [torch.load(path, weights_only=True) for path in paths]
        assert_equal(*ranks)
        train(task, SHARED, tmp_path / kind, "toy", fabric=fabric)
        one = tensors(tmp_path / kind / CHECKPOINT)
        # Means of means round differently from one mean, and Adam divides by small numbers.
        for name, value in ranks[0].items():
            torch.testing.assert_close(value, one[f"network.{name}"], atol=1e-5, rtol=1e-4)


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    class Three:
        world_size = 3

    with pytest.raises(ConfigError, match="3 devices need a multiple"):
        train(ToyTask(), SCHEDULE, tmp_path, "toy", fabric=Three())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("processor", "step", "gpu", "accelerator", "trained_in", "why"),
    [
        ("AVX2", "", False, "auto", "32-true", "only imitate"),
        ("AVX2", "", True, "cpu", "32-true", "only imitate"),
        ("AVX2", "", True, "auto", "bf16-mixed", ""),
        ("AVX2", "", False, "cuda", "bf16-mixed", ""),
        ("AVX512", "", False, "cpu", "bf16-mixed", ""),
        (
            "AVX512",
            "import os; os.abort()",
            False,
            "cpu",
            "32-true",
            "a trial step failed on this machine",
        ),
        ("AVX512", "import os; os.abort()", False, "cuda", "bf16-mixed", ""),
    ],
)
def test_bfloat16_is_neither_imitated_nor_fatal(
    monkeypatch: pytest.MonkeyPatch,
    processor: str,
    step: str,
    gpu: bool,
    accelerator: str,
    trained_in: str,
    why: str,
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(loop, "_BFLOAT16_STEP", step)
    precision, said = affordable_precision("bf16-mixed", accelerator)
    assert precision == trained_in
    assert why in said
    assert bool(why) == bool(said)
    assert affordable_precision("32-true", accelerator) == ("32-true", "")


def test_devices_that_are_not_there_are_refused_in_one_line() -> None:
    if available_accelerator() == "cuda":
        pytest.skip("there is a GPU here")
    with pytest.raises(ConfigError, match="try --accelerator auto") as refused:
        open_devices(accelerator="cuda")
    assert "\n" not in str(refused.value)
