"""A runner of networks whose answers a test knows."""

import numpy as np
from numpy.typing import NDArray

from plc.runtime.runner import NetworkCounters, Outcome


class Told:
    """Answers each submission with one number, one outcome after another; the last for the rest."""

    on_gpu = False
    state = "ready"

    def __init__(self, *outcomes: Outcome, answer: float = 0.0) -> None:
        self.counters = NetworkCounters()
        self.last_error = ""
        self.outcomes = outcomes
        self.answer = answer
        self.asked = 0
        self.deadlines_s: list[float] = []

    def submit(self, spectra: NDArray[np.float32], lost: NDArray[np.float32]) -> int:
        self.asked += 1
        return 1

    def collect(self, ticket: int, deadline_s: float, out: NDArray[np.float32]) -> Outcome:
        self.deadlines_s.append(deadline_s)
        out.fill(self.answer)
        return self.outcomes[min(self.asked, len(self.outcomes)) - 1]

    def abandon(self) -> None: ...

    def tick(self) -> bool:
        return False

    def close(self) -> None: ...
