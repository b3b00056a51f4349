"""Networks and a worker whose answers a test knows."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from plc.engine.runtime.worker import NetworkCounters, Result, Switch


class FakeNetwork:
    """A network that does as ``act`` says, which writes an answer and returns if it is sound."""

    last_error = ""

    def __init__(self, act: Callable[[NDArray[np.float32]], bool], on_gpu: bool = False) -> None:
        self.on_gpu = on_gpu
        self.runs = 0
        self._act = act

    def run(
        self, spectra: NDArray[np.float32], lost: NDArray[np.float32], out: NDArray[np.float32]
    ) -> bool:
        self.runs += 1
        return self._act(out)

    def keep_warm(self) -> None: ...

    def cancel(self) -> None: ...


class Told:
    """Answers each submission with one number, one outcome after another; the last for the rest."""

    on_gpu = False

    def __init__(self, *outcomes: Result, answer: float = 0.0) -> None:
        self.counters = NetworkCounters()
        self.last_error = ""
        self.outcomes = outcomes
        self.answer = answer
        self.asked = 0
        self.deadlines_s: list[float] = []
        self.switch = Switch()

    def submit(self, spectra: NDArray[np.float32], lost: NDArray[np.float32]) -> int:
        self.asked += 1
        return 1

    def collect(self, ticket: int, deadline_s: float, out: NDArray[np.float32]) -> Result:
        self.deadlines_s.append(deadline_s)
        out.fill(self.answer)
        outcome = self.outcomes[min(self.asked, len(self.outcomes)) - 1]
        self.switch.note(outcome)
        return outcome

    def describe(self) -> dict[str, str]:
        return {"state": "on" if self.switch.on else "off", "error": self.last_error}

    def abandon(self) -> None: ...

    def tick(self) -> None: ...

    def close(self) -> None: ...
