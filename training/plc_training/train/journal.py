"""Records of a run: ``log.jsonl`` for programs, TensorBoard's files for curves.

The log has one line for each validation, with the mean loss since the previous validation. When a
run continues from a checkpoint, records of later steps are dropped.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from plc_training.train.loop import Event

LOG = "log.jsonl"
# Steps that a point of TensorBoard's curve averages.
_POINT_STEPS = 20


class Journal:
    """Records of one run from a step on; a context manager."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = folder / LOG
        kept = [line for line in read_log(folder) if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        self._path.write_text(text, encoding="utf-8")
        self._board: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        self._point: list[float] = []
        self._since: list[float] = []

    def __enter__(self) -> "Journal":
        """Return the journal."""
        return self

    def __exit__(self, *_: object) -> None:
        """Flush and close the files."""
        self._board.close()

    def note(self, event: Event) -> None:
        """Record a step."""
        self._point.append(event.loss)
        self._since.append(event.loss)
        if len(self._point) == _POINT_STEPS:
            self._board.add_scalar("loss", fmean(self._point), event.step)
            self._board.add_scalar("steps_per_s", event.steps_per_s, event.step)
            self._point.clear()
        if event.figures:
            self._note_figures(event)

    def _note_figures(self, event: Event) -> None:
        for name, value in event.figures.items():
            self._board.add_scalar(f"valid/{name}", value, event.step)
        self._board.flush()
        line = {"step": event.step, "loss": fmean(self._since), **event.figures}
        self._since.clear()
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_log(folder: Path) -> Iterator[dict[str, float]]:
    """Yield the validations of a run, up to a truncated line."""
    path = folder / LOG
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return
