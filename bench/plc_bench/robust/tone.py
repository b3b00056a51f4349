"""A steady sine must stay one: ``plc bench robust tone``.

The plainest signal shows the plainest faults. A 440 Hz sine loses 5 % of its packets, at every
packet size and rate that the engine is used with, and the output must have

* no run of 64 or more zero samples: no hole was left;
* no step larger than twice the sine's own largest step: no click;
* the right phase: 10 ms into a gap it is off by 5 degrees at most.

Nothing is lost in the first half second: before it has heard anything no engine can continue it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil, inf

import numpy as np
from numpy.typing import NDArray

import plc
from plc.engine.loss import Bernoulli
from plc_bench.base.tables import Cell, Table
from plc_bench.scores.metrics import phase_error_deg, zero_runs

FREQUENCY_HZ = 440.0
LOSS = 0.05
STEP_RATIO_MAX = 2.0
PHASE_ERROR_MAX_DEG = 5.0
PHASE_GAP_MS = 10.0
_AMPLITUDE = 0.5
_LEAD_IN_S = 0.5

SAMPLE_RATES = (8000, 16_000, 32_000, 44_100, 48_000, 96_000)
PACKET_MS = (1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0)
# Sound cards' powers of two, CD's 10 ms, MP3's granule pair.
PACKET_SAMPLES = (64, 441, 512, 1152)


@dataclass(frozen=True, slots=True)
class ToneCase:
    """A rate in Hz and a packet size in samples."""

    sample_rate: int
    packet_samples: int


@dataclass(frozen=True, slots=True)
class ToneResult:
    """Faults of the sine in one case.

    Attributes
    ----------
    case : ToneCase, rate and packet size
    lost : int, packets lost
    zero_runs : int
        Runs of 64 or more zeros.
    step_ratio : float
        Largest step over the sine's own largest.
    phase_error_deg : float
        10 ms into a gap.
    """

    case: ToneCase
    lost: int
    zero_runs: int
    step_ratio: float
    phase_error_deg: float

    @property
    def passed(self) -> bool:
        """True if all three limits hold."""
        return (
            self.zero_runs == 0
            and self.step_ratio <= STEP_RATIO_MAX
            and self.phase_error_deg <= PHASE_ERROR_MAX_DEG
        )


def all_cases() -> list[ToneCase]:
    """Return every rate and packet length, and odd sizes at two rates."""
    cases = [ToneCase(rate, round(rate * ms / 1000)) for rate in SAMPLE_RATES for ms in PACKET_MS]
    cases += [ToneCase(rate, size) for rate in (44_100, 48_000) for size in PACKET_SAMPLES]
    return list(dict.fromkeys(cases))


def measure_tones(
    cases: Iterable[ToneCase],
    seconds: float = 10.0,
    on_done: Callable[[], None] = lambda: None,
) -> list[ToneResult]:
    """Conceal ``seconds`` of a damaged sine in each case."""
    results = []
    for case in cases:
        results.append(_measure(case, seconds))
        on_done()
    return results


def _measure(case: ToneCase, seconds: float) -> ToneResult:
    rate, packet_samples = case.sample_rate, case.packet_samples
    lead_in = ceil(_LEAD_IN_S * rate / packet_samples)
    packets = ceil(seconds * rate / packet_samples)
    trace = Bernoulli(LOSS).trace(packets, 0)
    trace[:lead_in] = False
    # A packet may last as long as the gap is meant to, or longer: then the gap is that packet.
    gap_samples = round(rate * PHASE_GAP_MS / 1000)
    gap = np.zeros(lead_in + ceil(gap_samples / packet_samples), np.bool_)
    gap[lead_in:] = True

    tone = _sine(rate, packets * packet_samples)
    output = _concealed(tone, trace, case)
    into_gap = _concealed(tone[: gap.size * packet_samples], gap, case)
    end = lead_in * packet_samples + gap_samples
    period = ceil(rate / FREQUENCY_HZ)
    return ToneResult(
        case,
        lost=int(trace.sum()),
        zero_runs=zero_runs(output),
        step_ratio=float(np.abs(np.diff(output)).max() / np.abs(np.diff(tone)).max()),
        phase_error_deg=phase_error_deg(
            tone[end - period : end], into_gap[end - period : end], FREQUENCY_HZ, rate
        ),
    )


def tone_table(results: Iterable[ToneResult]) -> Table:
    """Return a row for each case."""
    table = Table(
        f"{FREQUENCY_HZ:g} Hz sine, {100 * LOSS:g} % of packets lost",
        ("Hz", "packet", "ms", "lost", "zero runs", "step", "phase °", ""),
        left=(-1,),
    )
    for result in results:
        case = result.case
        table.add(
            case.sample_rate,
            case.packet_samples,
            f"{1000 * case.packet_samples / case.sample_rate:.4g}",
            result.lost,
            result.zero_runs,
            f"{result.step_ratio:.2f}",
            f"{result.phase_error_deg:.2f}",
            Cell("ok") if result.passed else Cell("fails", style="red"),
        )
    return table


def _sine(sample_rate: int, samples: int) -> NDArray[np.float32]:
    turns = FREQUENCY_HZ / sample_rate * np.arange(samples)
    tone: NDArray[np.float32] = (_AMPLITUDE * np.sin(2 * np.pi * turns)).astype(np.float32)
    return tone


def _concealed(
    tone: NDArray[np.float32], trace: NDArray[np.bool_], case: ToneCase
) -> NDArray[np.float32]:
    damaged = tone.copy()
    damaged[np.repeat(trace, case.packet_samples)] = 0.0
    output = plc.conceal(
        damaged,
        trace,
        sample_rate=case.sample_rate,
        packet_samples=case.packet_samples,
        budget_ms=inf,
    )
    return np.asarray(output, np.float32)
