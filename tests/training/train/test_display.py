"""What a run says where nothing moves."""

import pytest

from plc_bench.base.workers import Failure
from plc_training.train.display import Display
from plc_training.train.loop import Event


def test_stages_and_figures_are_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    with display.stage("decoding", 2) as advance:
        advance()
        advance()
    with display.training(0, 4) as tell:
        for step in range(1, 5):
            tell(Event(step, 1.0, 2.0, {"gain_db": 1.25} if step == 4 else {}))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "decoding: 2 of 2, 0 s left",
        "step 4 of 4: gain_db 1.250, loss 1, 2.00 steps/s",
    ]


def test_clips_left_out_are_named_up_to_a_few(capsys: pytest.CaptureFixture[str]) -> None:
    Display().failures([Failure(f"clip{k}", "no audio") for k in range(8)])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "left out: clip0: no audio"
    assert lines[-1] == "left out: 3 more"
    assert len(lines) == 6
