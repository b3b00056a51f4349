"""The plugin in a host of its own, and in those that people have."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc.embed.library import PLUGIN_SOURCE, Library
from plc.embed.packaging import PLUGIN
from plc_kernels.stream import entry, layout
from tests.signals import noise, tones

pytestmark = pytest.mark.system

RATE = 48_000
PACKET = RATE // 100

(PACKET_MS, LOOKAHEAD, DETECT, CONTENT, BYPASS, LATENCY, IN_1, OUT_1, IN_2, OUT_2) = range(10)

Pointer = ctypes.c_void_p
Floats = NDArray[np.float32]


class Range(ctypes.Structure):
    """LADSPA's hints of a port."""

    _fields_ = (("hints", ctypes.c_int), ("lower", ctypes.c_float), ("upper", ctypes.c_float))


class Descriptor(ctypes.Structure):
    """LADSPA's description of a plugin, as ladspa.h 1.1 has it."""

    _fields_ = (
        ("id", ctypes.c_ulong),
        ("label", ctypes.c_char_p),
        ("properties", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("maker", ctypes.c_char_p),
        ("copyright", ctypes.c_char_p),
        ("ports", ctypes.c_ulong),
        ("kinds", ctypes.POINTER(ctypes.c_int)),
        ("names", ctypes.POINTER(ctypes.c_char_p)),
        ("ranges", ctypes.POINTER(Range)),
        ("data", Pointer),
        ("instantiate", ctypes.CFUNCTYPE(Pointer, Pointer, ctypes.c_ulong)),
        ("connect_port", ctypes.CFUNCTYPE(None, Pointer, ctypes.c_ulong, Pointer)),
        ("activate", ctypes.CFUNCTYPE(None, Pointer)),
        ("run", ctypes.CFUNCTYPE(None, Pointer, ctypes.c_ulong)),
        ("run_adding", Pointer),
        ("set_run_adding_gain", Pointer),
        ("deactivate", Pointer),
        ("cleanup", ctypes.CFUNCTYPE(None, Pointer)),
    )


def descriptors(built: Library) -> Iterator[ctypes.Structure]:
    """Yield what the plugin's file describes."""
    find = ctypes.CDLL(str(built.library.with_name(PLUGIN))).ladspa_descriptor
    find.restype, find.argtypes = ctypes.POINTER(Descriptor), [ctypes.c_ulong]
    index = 0
    while described := find(index):
        yield described.contents
        index += 1


class Host:
    """A host with one plugin, mono or stereo, and its controls."""

    def __init__(self, built: Library, channels: int = 1, rate: int = RATE) -> None:
        self.kind = list(descriptors(built))[channels - 1]
        self.channels = channels
        self.controls = np.array([10.0, 0.0, 1.0, 0.0, 0.0, -1.0], np.float32)
        self.handle = self.kind.instantiate(ctypes.addressof(self.kind), rate)
        assert self.handle
        for port, place in enumerate(self.controls):
            assert place is not None
            self.connect(port, self.controls[port:])
        self.kind.activate(self.handle)

    def connect(self, port: int, at: Floats) -> None:
        self.kind.connect_port(self.handle, port, at.ctypes.data)

    def set(self, port: int, value: float) -> None:
        self.controls[port] = value

    def run(self, signal: Floats, blocks: int | None = None, *, in_place: bool = True) -> Floats:
        """Return what comes out, in blocks of that length; None: of drawn lengths."""
        rows = signal.T.copy()
        out = rows if in_place else np.full_like(rows, np.nan)
        rng, at = np.random.default_rng(len(signal)), 0
        while at < len(signal):
            size = min(blocks or int(rng.integers(0, 3 * PACKET)), len(signal) - at)
            for c in range(self.channels):
                self.connect(IN_1 + 2 * c, rows[c, at:])
                self.connect(OUT_1 + 2 * c, out[c, at:])
            self.kind.run(self.handle, size)
            at += size
        return np.ascontiguousarray(out.T)

    def close(self) -> None:
        self.kind.cleanup(self.handle)


def music(channels: int = 1, seconds: float = 2.0) -> Floats:
    mono = tones(3, RATE, int(seconds * RATE)) + 0.02 * noise(1, int(seconds * RATE))
    rows = [(0.3 + 0.1 * c) * np.roll(mono, 20 * c) for c in range(channels)]
    return np.stack(rows, axis=1).astype(np.float32)


def cut(signal: Floats) -> Floats:
    """Return it with 8 ms of silence each 0.2 s."""
    lossy = signal.copy()
    for begin in range(RATE // 3, len(signal), RATE // 5):
        lossy[begin : begin + RATE // 125] = 0.0
    return lossy


@pytest.mark.parametrize(("channels", "lookahead"), [(1, 0), (2, 1)])
def test_dropouts_are_concealed_and_all_else_is_untouched(
    built: Library, channels: int, lookahead: int
) -> None:
    whole = music(channels)
    lossy = cut(whole)
    latency = PACKET * (1 + lookahead)
    for signal in (whole, lossy):
        with closing(Host(built, channels)) as host:
            host.set(LOOKAHEAD, lookahead)
            heard = host.run(signal)
            assert host.controls[LATENCY] == latency
        assert not heard[:latency].any()
        lost = (signal == 0.0).all(axis=1)[: len(heard) - latency]
        # A dropout is found after half a millisecond, and left by a crossfade.
        beside = np.convolve(lost, np.ones(RATE // 100), "same") > 0.0
        heard, sent = heard[latency:], signal[: len(heard) - latency]
        assert np.array_equal(heard[~beside], sent[~beside])
    assert lost.sum() > 1000
    error = heard[lost] - whole[: len(lost)][lost]
    assert np.mean(error**2) < 0.15 * np.mean(whole[: len(lost)][lost] ** 2)


def test_a_lost_packet_is_bounded(built: Library) -> None:
    """By operations, not by time: the ladder begins where the limit lets it."""
    source = PLUGIN_SOURCE.read_text()
    limit = int(source.split("#define WORK ")[1].split("u")[0])
    settings = np.zeros(entry.SETTINGS, np.int64)
    settings[:4] = RATE, 2, PACKET, 0
    header = np.zeros(layout.HEADER, np.int64)
    entry.prepare(settings, header)
    best = header[layout.LADDER]
    settings[8] = limit
    entry.prepare(settings, header)
    assert 0 < header[layout.LADDER] < best


@pytest.mark.parametrize("blocks", [1, 64, 441, 4096, None])
@pytest.mark.parametrize("in_place", [False, True])
def test_the_lengths_of_blocks_change_nothing(
    built: Library, blocks: int | None, in_place: bool
) -> None:
    signal = cut(music(2, 1.0))
    with closing(Host(built, 2)) as host, closing(Host(built, 2)) as other:
        assert np.array_equal(
            host.run(signal, blocks, in_place=in_place), other.run(signal, PACKET)
        )


def test_a_bypass_plays_what_came_as_late_and_without_a_step(built: Library) -> None:
    signal = cut(music(1, 2.0))
    with closing(Host(built)) as host:
        heard = [host.run(signal[: RATE // 2])]
        host.set(BYPASS, 1.0)
        heard.append(host.run(signal[RATE // 2 :]))
    out = np.concatenate(heard)
    late = RATE // 2 + RATE // 100
    assert np.array_equal(out[late + PACKET :], signal[late : len(out) - PACKET])
    assert np.abs(np.diff(out[RATE // 2 - 9 : late], axis=0)).max() < 0.2


def test_controls_change_while_it_runs_and_any_value_is_taken(built: Library) -> None:
    signal = cut(music(1, 0.5))
    with closing(Host(built)) as host:
        for port, value, latency in (
            (PACKET_MS, 20.0, 960),
            (LOOKAHEAD, 2.0, 2880),
            (PACKET_MS, -5.0, 360),
            (PACKET_MS, np.inf, 1440),
            (PACKET_MS, 1e9, 5760),
            (LOOKAHEAD, np.nan, 1920),
            (LOOKAHEAD, 1e9, 9600),
            (DETECT, 0.0, 9600),
        ):
            host.set(port, value)
            out = host.run(signal)
            assert host.controls[LATENCY] == latency, (port, value)
            assert np.isfinite(out).all()
            assert np.abs(out).max() < 1.5
        # Nothing is looked for: what was cut off stays.
        assert np.array_equal(out[9600:], signal[: len(out) - 9600])


def test_every_shape_has_its_memory(built: Library) -> None:
    """At 44.1 kHz a packet of 35.2 ms would take more than any of whole half milliseconds."""
    signal = cut(music(2, 0.7))
    with closing(Host(built, 2, 44_100)) as host:
        host.set(LOOKAHEAD, 4.0)
        for ms in (2.5, 10.0, 35.2, 35.3, 40.0):
            host.set(PACKET_MS, ms)
            heard = host.run(signal)
            latency = int(host.controls[LATENCY])
            assert latency == 5 * round(round(2 * ms) / 2 * 44.1)
            # Where no stream is open, what came in is played a packet later.
            assert not heard[:latency].any()


def test_samples_that_are_none_are_concealed(built: Library) -> None:
    signal = music(1, 0.5)
    signal[9_700:9_800] = np.nan
    with closing(Host(built)) as host:
        out = host.run(signal)
    assert np.isfinite(out).all()


@pytest.mark.parametrize("rate", [0, 4000, 400_000, 2**40])
def test_a_sample_rate_that_is_not_supported_is_refused(built: Library, rate: int) -> None:
    for kind in descriptors(built):
        assert not kind.instantiate(ctypes.addressof(kind), rate)


def test_the_description_fits_what_hosts_expect(built: Library) -> None:
    kinds = list(descriptors(built))
    assert [kind.label for kind in kinds] == [b"plc_mono", b"plc_stereo"]
    assert [kind.ports for kind in kinds] == [8, 10]
    for kind in kinds:
        names = [kind.names[k].decode() for k in range(kind.ports)]
        assert names[LATENCY] == "latency"
        assert len(set(names)) == len(names)
        for port in (PACKET_MS, LOOKAHEAD, DETECT, CONTENT):
            assert kind.ranges[port].lower < kind.ranges[port].upper
    exported = subprocess.check_output(
        ["nm", "-D", "--defined-only", "-j", built.library.with_name(PLUGIN)], text=True
    )
    assert exported.split() == ["ladspa_descriptor"]


LEFT = (
    *("Packet length (ms)", "Lookahead (packets)", "Detect dropouts"),
    *("Content (0 auto, 1 music, 2 speech)", "Bypass", "latency", "Input", "Output"),
)
KNOWN = {932: LEFT, 933: (*LEFT, "Input, right", "Output, right")}


def test_a_further_port_comes_last_or_with_another_number(built: Library) -> None:
    """Hosts keep settings by a plugin's number and a port's place."""
    for kind in descriptors(built):
        names = tuple(kind.names[k].decode() for k in range(kind.ports))
        assert names[: len(KNOWN[kind.id])] == KNOWN[kind.id]


@pytest.fixture
def recording(built: Library, tmp_path: Path) -> tuple[Path, Floats, Floats]:
    """Return a recording with dropouts, its samples, and what comes out of the test's own host."""
    signal = (np.rint(32768 * cut(music(1, 1.0))) / 32768).astype(np.float32)
    path = tmp_path / "in.wav"
    soundfile.write(path, signal, RATE, "PCM_16")
    with closing(Host(built)) as host:
        return path, signal, host.run(signal)[:, 0]


@pytest.mark.parametrize("host", ["ffmpeg", "applyplugin", "gst-launch-1.0"])
def test_programs_that_people_have_run_it(
    built: Library, recording: tuple[Path, Floats, Floats], host: str, tmp_path: Path
) -> None:
    if shutil.which(host) is None:
        pytest.skip(f"{host} is not installed")
    source, signal, expected = recording
    plugin, out = built.library.with_name(PLUGIN), tmp_path / "out.wav"
    commands: dict[str, list[str | Path]] = {
        "ffmpeg": ["-v", "error", "-i", source, "-af", f"ladspa=f={plugin}:p=plc_mono", out],
        "applyplugin": [source, out, plugin, "plc_mono", "10", "0", "1", "0", "0"],
        "gst-launch-1.0": [
            *f"-q filesrc location={source} ! wavparse ! audioconvert".split(),
            *["!", "ladspa-plc-ladspa-so-plc-mono", "!", "audioconvert", "dithering=none"],
            *f"! audio/x-raw,format=S16LE ! wavenc ! filesink location={out}".split(),
        ],
    }
    environment = os.environ | {
        "LADSPA_PATH": str(plugin.parent),
        "GST_REGISTRY": str(tmp_path / "registry"),
    }
    done = subprocess.run(
        [host, *(str(each) for each in commands[host])],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if "no element" in done.stderr:
        pytest.skip("GStreamer's ladspa elements are not installed")
    assert done.returncode == 0, done.stderr
    heard, _ = soundfile.read(out, dtype="float32")
    n = min(len(heard), len(expected))
    assert n > 0.9 * RATE
    assert np.abs(heard[:n] - expected[:n]).max() <= 1.01 / 32768
    assert not np.array_equal(heard[PACKET:n], signal[: n - PACKET, 0])
