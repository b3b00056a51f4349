"""Events as lines of JSON."""

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plc.transport.rtp.codecs import L16
from plc.transport.rtp.delay import DelayConfig, DelayMode
from plc.transport.rtp.packetizer import Packetizer
from plc.transport.service.events import EventLog, StreamWatch
from tests.plc.configs import playout_of
from tests.processes import ROOT
from tests.signals import tones

RATE, BLOCK = 16_000, 160
MOMENT = datetime(2024, 2, 3, 4, 5, 6, 7000, UTC)


def test_an_event_is_one_line_with_its_time() -> None:
    out = io.StringIO()
    log = EventLog(out, now=lambda: MOMENT)
    log("device_lost", device="a\nb", level=float("nan"), path=Path("x"))
    log("other")
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert first == {
        "time": "2024-02-03T04:05:06.007+00:00",
        "event": "device_lost",
        "device": "a\nb",
        "level": None,
        "path": "x",
    }
    assert second["event"] == "other"


def test_the_page_names_every_event() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "plc/transport").rglob("*.py"))
    calls = re.findall(r"\b_?note\(\s*([^,)]*),", sources)
    events = {name for call in calls for name in re.findall(r'"(\w+)"', call)}
    text = (ROOT / "docs/live.md").read_text()
    listed = text[text.index("## Events") : text.index("## aiortc")]
    assert len(events) > 10
    assert {name for name in events if f"`{name}`" not in listed} == set()


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    out = io.StringIO()
    log = EventLog(out)
    out.close()
    log("event")
    assert log.dropped == 1


def test_what_becomes_of_a_stream_is_noted_once() -> None:
    noted: list[tuple[str, dict[str, Any]]] = []
    delay = DelayConfig(mode=DelayMode.FIXED, delay_ms=20)
    playout = playout_of(L16(RATE, 1), BLOCK, delay, model="ar", budget_ms=float("inf"))
    watch = StreamWatch("here", playout, lambda event, **rest: noted.append((event, rest)))
    packetizer = Packetizer(L16(RATE, 1), ssrc=1)
    signal = tones(1, RATE, 1000 * BLOCK).reshape(-1, BLOCK)
    lost = {150} | set(range(400, 700))
    for number in range(1000):
        datagram = packetizer.pack(signal[number][:, None])
        if number not in lost:
            playout.put(datagram, number * 0.01)
        playout.tick(number * 0.01)
        if number % 100 == 99:
            watch.look()
    assert [event for event, _ in noted] == [
        "stream_begun",
        "concealed",
        "concealed",  # the second in which the outage begins is half received
        "outage",
        "outage_ended",
        "concealed",
    ]
    assert all(rest["stream"] == "here" for _, rest in noted)
    assert noted[1][1]["bursts"] == 1
    assert noted[1][1]["concealed_samples"] == BLOCK
