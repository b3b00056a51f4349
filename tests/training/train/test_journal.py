"""The records of a run."""

from pathlib import Path

from plc_training.train.journal import LOG, Journal, read_log
from plc_training.train.loop import Event


def note(journal: Journal, first: int, last: int) -> None:
    for step in range(first, last + 1):
        journal.note(Event(step, float(step), 2.0, {"gain": 0.5 * step} if step % 4 == 0 else {}))


def test_validations_are_lines_with_the_mean_loss_since_the_last(tmp_path: Path) -> None:
    with Journal(tmp_path, 0) as journal:
        note(journal, 1, 9)
    assert list(read_log(tmp_path)) == [
        {"step": 4, "loss": 2.5, "gain": 2.0},
        {"step": 8, "loss": 6.5, "gain": 4.0},
    ]


def test_what_lies_beyond_the_checkpoint_is_dropped(tmp_path: Path) -> None:
    with Journal(tmp_path, 0) as journal:
        note(journal, 1, 9)
    with Journal(tmp_path, 6) as journal:
        assert [line["step"] for line in read_log(tmp_path)] == [4]
        note(journal, 7, 12)
    assert [line["step"] for line in read_log(tmp_path)] == [4, 8, 12]


def test_a_line_that_was_cut_short_is_dropped(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text('{"step": 4, "loss": 1.0}\n{"step": 8, "lo')
    assert [line["step"] for line in read_log(tmp_path)] == [4]
    assert list(read_log(tmp_path / "elsewhere")) == []
