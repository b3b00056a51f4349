"""Which device is meant, and that it is kept open."""

import os
import subprocess
import sys
from typing import Any

import pytest

from plc.errors import ConfigError, DeviceError, MissingExtraError
from plc.transport.cards.devices import DevicePort, find_device, tend
from plc.transport.cards.portaudio import open_backend
from tests.plc.fake_devices import FakeBackend, card

CARDS = [
    card(0, "Built-in Audio"),
    card(3, "USB Interface: Input", outputs=0),
    card(5, "USB Interface: Output", inputs=0, rate=44_100),
    card(7, "USB Interface"),
]


@pytest.mark.parametrize(
    ("text", "is_input", "index"),
    [
        ("default", True, 0),
        ("3", True, 3),
        ("usb interface", True, 7),  # the whole name before a part of one
        ("built", False, 0),
        ("USB Interface: out", False, 5),
    ],
)
def test_a_device_is_found_by_number_name_or_part_of_it(
    text: str, is_input: bool, index: int
) -> None:
    assert find_device(CARDS, text, is_input).index == index


def test_without_a_default_the_first_that_fits_is_taken() -> None:
    assert find_device(CARDS[1:], "default", False).index == 5


@pytest.mark.parametrize(
    ("text", "is_input", "says"),
    [
        ("usb", True, "more than one input: 3 .*7 .*give a number"),
        ("5", True, "no input is called '5'; there are 0 "),
        ("nonsense", False, "there are 0 .*5 .*7 "),
    ],
)
def test_what_is_not_one_device_is_refused(text: str, is_input: bool, says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        find_device(CARDS, text, is_input)


def test_where_there_is_none_that_is_said() -> None:
    with pytest.raises(DeviceError, match="no input device; plug one in"):
        find_device([], "default", True)


def port_of(backend: FakeBackend, is_input: bool = True, **settings: Any) -> DevicePort:
    values: dict[str, Any] = {
        "name": "card",
        "sample_rate": 48_000,
        "channels": 2,
        "block_s": 0.01,
    } | settings
    return DevicePort(backend, is_input=is_input, **values)


@pytest.mark.parametrize(
    ("taken", "opened"), [({48_000, 44_100}, 48_000), ({44_100}, 44_100), ({96_000}, 96_000)]
)
def test_a_device_is_opened_at_a_rate_that_it_takes(taken: set[int], opened: int) -> None:
    backend = FakeBackend(cards=[card(0, "card", rate=44_100)])
    backend.accepts = lambda rate, _: rate in taken
    port = port_of(backend)
    port.open(0.0)
    assert port.stream is not None
    assert port.stream.sample_rate == opened
    assert backend.streams[0].block == opened // 100


def test_a_device_that_takes_no_rate_is_refused_with_what_was_tried() -> None:
    backend = FakeBackend(cards=[card(0, "card")], accepts=lambda rate, channels: False)
    with pytest.raises(DeviceError, match=r"card does not take 48000 Hz.*8000.*192000 Hz"):
        port_of(backend).open(0.0)


def test_a_device_of_fewer_channels_is_opened_with_those_it_has() -> None:
    backend = FakeBackend(cards=[card(0, "card", inputs=1)])
    port = port_of(backend)
    port.open(0.0)
    assert port.stream is not None
    assert port.stream.channels == 1


def test_a_lost_device_is_tried_again_after_growing_pauses() -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    backend = FakeBackend(cards=[card(0, "card")])
    port = port_of(backend, note=lambda event, **rest: events.append((event, rest)))
    port.open(0.0)
    backend.stream(True).active = False
    backend.broken = True
    tried = []
    for tick in range(200):
        failed = port.stats.failed_opens
        tend(backend, [port], 0.1 * tick)
        if port.stats.failed_opens > failed:
            tried.append(round(0.1 * tick, 1))
    assert tried == pytest.approx([0.3, 0.8, 1.8, 3.8, 7.8, 11.8, 15.8, 19.8], abs=0.11)
    assert port.away_since_s == 0.0
    assert "gone" in port.latest_error
    backend.broken = False
    tend(backend, [port], 30.0)
    assert port.stream is not None
    assert port.away_since_s is None
    assert port.stats.losses == 1
    assert port.stats.opened == 2
    assert [name for name, _ in events][:3] == ["device_opened", "device_lost", "device_not_opened"]
    assert events[-1][0] == "device_opened"


def test_a_device_known_only_after_a_refresh_is_found_and_the_other_goes_on() -> None:
    backend = FakeBackend(cards=[card(0, "card")])
    ports = [port_of(backend, True), port_of(backend, False)]
    for port in ports:
        port.open(0.0)
    backend.stream(True).active = False
    backend.cards = [card(0, "card", inputs=0)]
    backend.after_refresh = [card(0, "card"), card(1, "new")]
    for tick in range(30):
        backend.stream(False).take(480)
        tend(backend, ports, 0.1 * tick)
    assert backend.refreshed == 1
    assert all(port.stream is not None for port in ports)
    assert ports[1].stats.losses == 0
    assert ports[1].stats.opened == 2


def test_a_device_that_no_longer_calls_is_lost_but_a_slow_start_is_not() -> None:
    backend = FakeBackend(cards=[card(0, "card")])
    port = port_of(backend, False)
    port.open(0.0)
    backend.stream(False).take(480)
    tend(backend, [port], 3.9)
    assert port.stream is not None
    tend(backend, [port], 4.2)
    backend.stream(False).take(480)
    tend(backend, [port], 4.3)
    tend(backend, [port], 6.7)
    assert port.stream is not None
    tend(backend, [port], 6.9)
    assert port.stats.losses == 1
    assert backend.streams[0].closed


def test_counts_outlive_the_stream() -> None:
    backend = FakeBackend(cards=[card(0, "card")])
    port = port_of(backend, False)
    for turn in range(3):
        port.open(float(turn))
        backend.stream(False).take(100, broken=True)
        assert port.stats.breaks == turn + 1
        port.close()
    stats = port.stats
    assert (stats.passed_samples, stats.missed_samples, stats.callbacks) == (300, 300, 3)


def test_an_unknown_back_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="sounddevice, pyaudio"):
        open_backend("oss")


@pytest.mark.parametrize("library", ["sounddevice", "pyaudio"])
def test_an_absent_library_is_named_with_the_command_that_brings_it(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[.*apt-get install"):
        open_backend(library)


@pytest.mark.parametrize("library", ["sounddevice", "pyaudio"])
def test_a_machine_without_a_sound_card_lists_none(library: str) -> None:
    pytest.importorskip(library, exc_type=(ImportError, OSError))  # type: ignore[arg-type]
    hidden = {"ALSA_CONFIG_PATH", "PULSE_SERVER", "XDG_RUNTIME_DIR"}
    there = {name: value for name, value in os.environ.items() if name not in hidden}
    script = (
        "from plc.transport.cards.devices import find_device\n"
        "from plc.transport.cards.portaudio import open_backend\n"
        "from plc.errors import DeviceError\n"
        f"devices = open_backend({library!r}).devices()\n"
        "try:\n    print(len(devices), find_device(devices, 'default', True).name)\n"
        "except DeviceError as error:\n    print(len(devices), error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**there, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    if not done.stdout.startswith("0 "):
        pytest.skip(f"this machine has a sound card: {done.stdout}")
    assert "no input device; plug one in" in done.stdout
