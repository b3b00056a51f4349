"""The options of the commands."""

import pytest
import typer

pytest.importorskip("torch")

from torch.distributed.run import parse_args
from typer.testing import CliRunner

from plc.programs.cli.app import app as plc_app
from plc_training.cli import app


def test_torchrun_hands_every_option_on() -> None:
    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]  # a group
    options = [option.opts[-1] for option in command.params if option.opts[-1].startswith("--")]
    assert {"--data", "--out", "--cache", "--steps"} <= set(options)
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
        ("papers judged", "runs/notes_* --set data=NOTES --set unseen=UNSEEN"),
        ("fit content", "--set data=CORPUS --set data=DEBIAN"),
        ("fit contour", "--set data=CORPUS --set out=contour.npz"),
        ("fit damage", "--set data=CORPUS --set out=damage.npz"),
        ("papers restored", "runs/restore_unet_v2 --set unseen=CORPUS/music/test"),
        ("papers contexts", "RUN --set data=CORPUS --set unseen=CLIPS --set picture=PNG"),
        ("papers representations", "--set data=CORPUS --set unseen=CORPUS/music/test"),
    ],
)
def test_a_sub_command_of_train_teaches_by_an_example(name: str, taught: str) -> None:
    said = CliRunner().invoke(plc_app, ["train", *name.split(), "--help"])
    assert said.exit_code == 0
    assert f"plc train {name} [OPTIONS]" in said.output
    assert f"plc train {name} {taught}" in " ".join(said.output.split())
    assert f"plc train {name}" in CliRunner().invoke(plc_app, ["train", "--help"]).output
