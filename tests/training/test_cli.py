"""The options of the commands."""

import pytest
import typer

pytest.importorskip("torch")

from torch.distributed.run import parse_args

from plc_training.cli import app


def test_torchrun_hands_every_option_on() -> None:
    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]  # a group
    options = [option.opts[-1] for option in command.params if option.opts[-1].startswith("--")]
    assert {"--data", "--run-dir", "--cache", "--steps"} <= set(options)
    ours = ["train", "tiny", *(part for option in options for part in (option, "1"))]
    torchrun = ["--standalone", "--nproc-per-node", "2", "-m", "plc_training"]
    parsed = parse_args([*torchrun, *ours])  # type: ignore[no-untyped-call]  # torch's
    assert parsed.training_script == "plc_training"
    assert parsed.training_script_args == ours
