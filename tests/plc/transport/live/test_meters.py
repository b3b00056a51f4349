"""The view in the terminal."""

import io

import pytest
from rich.console import Console

from plc.transport.live.live import Live
from plc.transport.live.meters import level_db, meter, open_view, render
from plc.transport.rtp.impair import ImpairConfig
from tests.plc.configs import changed
from tests.plc.transport.live.test_live import CONFIG, FIXED, Bench
from tests.plc.transport.streams import RATE
from tests.signals import tones


@pytest.fixture(scope="module")
def live() -> Live:
    config = changed(CONFIG, delay=FIXED, impair=ImpairConfig(loss=0.1), seed=3)
    bench = Bench(config, tones(1, RATE, 10 * RATE))
    bench.run(5.0)
    return Live(bench.engine, bench.backend, bench.ports)


def text_of(live: Live, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(render(live))
    return captured.get()


def test_a_level_is_a_bar_of_its_decibels() -> None:
    assert level_db(1.0) == 0.0
    assert level_db(0.1) == pytest.approx(-20.0)
    assert level_db(0.0) == level_db(1e-9) == -60.0
    assert [meter(level).plain.count("█") for level in (0.0, 10.0 ** (-30 / 20), 1.0, 9.0)] == [
        0,
        15,
        30,
        30,
    ]
    assert "-30.0 dB" in meter(10.0 ** (-30 / 20)).plain


def test_all_that_matters_is_on_it(live: Live) -> None:
    text = text_of(live)
    lost = live.engine.playout.received.lost_packets
    assert lost > 20
    assert f"{lost} lost" in text
    bursts = live.engine.playout.concealment.concealment_events
    assert f"{bursts} bursts: ar" in text
    for part in (
        "input",
        "output",
        "delay",
        "p99",
        "over the limit of",
        "packets of",
        "delay at most",
        "c: concealment off; Ctrl-C",
        "20 ms kept ready",
        "16000 Hz, 1 ch",
        "ppm",
    ):
        assert part in text, text


def test_a_device_that_is_away_is_said_to_be(live: Live) -> None:
    port = live.ports[0]
    stream, port.stream, port.latest_error = port.stream, None, "no input is called 'card'"
    try:
        assert "card: closed" in text_of(live)
        port.away_since_s = 1.0
        assert "card: away. no input is called 'card'" in text_of(live)
    finally:
        port.stream, port.away_since_s = stream, None


def test_it_is_drawn_where_it_should_be_and_fits_a_narrow_terminal(live: Live) -> None:
    out = io.StringIO()
    with open_view(out) as show:
        show(live)
    assert "packets" in out.getvalue()
    assert max(len(line) for line in text_of(live, 60).splitlines()) <= 60
