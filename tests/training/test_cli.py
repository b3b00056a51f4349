"""The options of the commands."""

import pytest
import typer
from torch.distributed.run import parse_args
from typer.testing import CliRunner

from plc.programs.cli.app import app as plc_app
from plc_training.cli import app
from tests.options import ran


def test_torchrun_hands_every_option_on() -> None:
    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]  # a group
    options = [option.opts[-1] for option in command.params if option.opts[-1].startswith("--")]
    assert {"--data", "--out", "--domain", "--steps"} <= set(options)
    ours = ["train", "tiny", *(part for option in options for part in (option, "1"))]
    torchrun = ["--standalone", "--nproc-per-node", "2", "-m", "plc_training"]
    parsed = parse_args([*torchrun, *ours])  # type: ignore[no-untyped-call]  # torch's
    assert parsed.training_script == "plc_training"
    assert parsed.training_script_args == ours


@pytest.mark.parametrize(
    ("name", "taught"),
    [
        ("debian", "speech music --out DEBIAN"),
        ("notes", "--out NOTES"),
        ("fit", "content --data CORPUS --data DEBIAN"),
        ("fit", "contour --data CORPUS --out contour.npz"),
        ("papers", "judged runs/notes_* --data NOTES --unseen UNSEEN"),
        ("papers", "restored runs/restore_unet_v2 --unseen CORPUS/music/test"),
        ("papers", "contexts RUN --data CORPUS --unseen CLIPS --picture PNG"),
    ],
)
def test_a_sub_command_of_train_teaches_by_an_example(name: str, taught: str) -> None:
    said = ran(plc_app, "train", *name.split(), "--help")
    assert f"plc train {name} [OPTIONS]" in said.output
    assert f"plc train {name} {taught}" in " ".join(said.output.split())
    assert f"plc train {name}" in CliRunner().invoke(plc_app, ["train", "--help"]).output


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("papers restored --unseen x", "RUNS: restored needs them"),
        ("papers restorers --data x", "--unseen: restorers needs them"),
        ("papers judged x --unseen x", "judged needs them"),
        ("papers restored x --unseen x --steps 2", "restored trains no networks"),
        ("fit content --data x --out y", "content is printed, not written"),
    ],
)
def test_what_a_training_needs_or_has_no_use_for_is_said(words: str, why: str) -> None:
    said = ran(app, "train", *words.split(), status=2)
    assert why in said.output
