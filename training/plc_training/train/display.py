"""Progress display: bars on a terminal, plain lines elsewhere."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from plc.cli.progress import shown
from plc.errors import printable
from plc_bench.base.workers import Failure
from plc_training.data.library import Clip, Decoded, decode_library
from plc_training.train.loop import Event

# Of the running mean of the loss.
_SMOOTH = 0.98
_SHOWN_FAILURES = 5


class Display:
    """Display of progress on stderr.

    Parameters
    ----------
    quiet : bool
        Whether to print nothing, as all processes but the first do.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False, quiet=quiet)

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(printable(text), soft_wrap=True)

    def failures(self, failures: Sequence[Failure]) -> None:
        """Print the clips that are left out, with reasons."""
        for failure in failures[:_SHOWN_FAILURES]:
            self.say(f"left out: {failure.clip}: {failure.reason}")
        if len(failures) > _SHOWN_FAILURES:
            self.say(f"left out: {len(failures) - _SHOWN_FAILURES} more")

    @contextmanager
    def stage(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """Show a stage of ``total`` parts; yield a counter of parts."""
        with shown(what, total, self._console, to_the_end=True) as meter:
            yield meter.advance

    @contextmanager
    def training(self, begun: int, steps: int) -> Iterator[Callable[[Event], None]]:
        """Show a training from step ``begun``; yield a call for each step."""
        loss = math.nan
        with shown("training", console=self._console) as meter:
            meter.start(steps, begun)

            def tell(event: Event) -> None:
                nonlocal loss
                mean = _SMOOTH * loss + (1.0 - _SMOOTH) * event.loss
                loss = event.loss if math.isnan(loss) else mean
                note = f"loss {loss:.4g}, {event.steps_per_s:.2f} steps/s"
                meter.advance(1, note)
                if event.figures:
                    figures = ", ".join(f"{name} {x:.3f}" for name, x in event.figures.items())
                    self.say(f"step {event.step} of {steps}: {figures}, {note}")

            yield tell


def decode_shown(
    clips: Sequence[Clip], sample_rate: int, cache: Path, jobs: int, display: Display
) -> list[Decoded]:
    """Decode clips with a progress display, and print the failures.

    As :func:`~plc_training.data.library.decode_library`; ``cache`` has one folder for each rate.
    """
    with display.stage("decoding", len(clips)) as advance:
        decoded, failures = decode_library(
            clips, sample_rate, cache / str(sample_rate), jobs, advance
        )
    display.failures(failures)
    return decoded
