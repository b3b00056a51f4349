from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

import plc
from plc_bench.robust import soak as bench
from plc_bench.robust.soak import SoakReport, SoakStream, soak

pytest.importorskip("psutil", reason="psutil is not installed")

Array = NDArray[np.float32]


class Engine:
    """Zeros for what is lost, after the delay that was asked for."""

    def __init__(
        self, *, packet_samples: int, channels: int = 1, lookahead: int = 0, **_: object
    ) -> None:
        self.shape = (packet_samples, channels)
        self.lookahead = lookahead

    def push(self, packet: Array | None) -> Array:
        kind = np.float32 if packet is None else packet.dtype
        return np.zeros(self.shape, kind)

    def flush(self) -> Array:
        return np.zeros((self.lookahead * self.shape[0], self.shape[1]), np.float32)

    def close(self) -> None:
        pass


def run_with(
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Array], Array],
    at: int = 100,
    seed: int = 4,
    packets: int = 3000,
) -> SoakReport:
    """Soak an engine some of whose packets, from the ``at``-th on, are spoilt."""

    class Spoilt(Engine):
        pushed = 0

        def push(self, packet: Array | None) -> Array:
            self.pushed += 1
            output = super().push(packet)
            return spoil(output) if at <= self.pushed < at + 10 else output

    monkeypatch.setattr(plc, "Concealer", Spoilt)
    # float32 streams only: what a fake plays before a packet has arrived is not the question.
    monkeypatch.setattr(bench, "_draw_stream", lambda rng: SoakStream(8000, 80, 2, 1, int16=False))
    return soak(packets, seed)


def test_an_engine_that_keeps_its_promises_has_no_violations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = run_with(monkeypatch, lambda output: output)
    assert report.violations == []
    assert report.packets == 3000
    assert 0 < report.lost < 3000
    assert report.broken > 0
    assert report.streams > 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda output: output[:-1], "samples went into"),
        (lambda output: output * np.float32(np.nan), "not finite"),
        (lambda output: output + np.float32(1e6), "louder than the received signal"),
        (lambda output: output.astype(np.float64), "float64 came out"),
    ],
)
def test_a_broken_promise_is_a_violation(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Array], Array], message: str
) -> None:
    report = run_with(monkeypatch, spoil, packets=1000)
    assert any(message in violation for violation in report.violations), report.violations


@pytest.mark.parametrize("where", ["resident_mb", "kept_mb"])
def test_memory_that_grows_is_a_violation(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Within a stream, or by what streams leave behind."""
    readings = {
        name: iter(np.linspace(100.0, 2000.0 if name == where else 100.0, 1000))
        for name in ("resident_mb", "kept_mb")
    }
    monkeypatch.setattr(bench, "resident_mb", lambda: float(next(readings["resident_mb"])))
    monkeypatch.setattr(bench, "kept_mb", lambda: float(next(readings["kept_mb"])))
    monkeypatch.setattr(bench, "_RSS_EVERY_PACKETS", 10)
    monkeypatch.setattr(bench, "_STREAM_PACKETS", (200, 300))
    report = run_with(monkeypatch, lambda output: output)
    assert any("memory grew" in violation for violation in report.violations)


def test_an_outage_lasts_up_to_an_hour() -> None:
    assert bench._outage_packets(SoakStream(8000, 480, 1, 0, int16=False)) == 60_000


@pytest.mark.parametrize("content", bench.CONTENTS)
@pytest.mark.parametrize("int16", [False, True])
def test_packets_of_every_content_fit_their_stream(content: str, int16: bool) -> None:
    stream = SoakStream(8000, 40, 2, 0, int16)
    packets = bench._make_packets(content, stream, np.random.default_rng(1))
    assert {packet.shape for packet in packets} == {(40, 2)}
    assert {packet.dtype for packet in packets} == {np.dtype(np.int16 if int16 else np.float32)}
    broken = sum(not np.isfinite(packet).all() for packet in packets)
    assert (broken > 0) == (content == "broken" and not int16)


def test_the_engine_survives_a_short_soak() -> None:
    report = soak(4000, seed=1)
    assert report.violations == []
    assert report.packets == 4000
