"""libplc inside decoders: in this process beside libopus itself, and in programs of Debian."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc.embed import inside as kept
from plc.embed.library import Library
from plc.embed.models import ALL, write_models
from plc.embed.packaging import INSIDE, WRAPPER, package
from tests.plc.embed.c_side import ROOT, recording
from tests.processes import environment

pytestmark = pytest.mark.system

RATE = 48_000
FRAME = RATE // 50
AUDIO, VOIP, SILK = 2049, 2048, 1000
SET_BITRATE, SET_FEC, SET_LOSS, SET_DTX, RESET, FORCE_MODE = 4002, 4012, 4014, 4016, 4028, 11002

Samples = NDArray[Any]
MAPPINGS = {
    1: (1, 0, b"\0"),
    2: (1, 1, b"\0\1"),
    6: (4, 2, b"\0\4\1\2\3\5"),
    12: (12, 0, bytes(range(12))),
}


def loaded(path: str | Path) -> ctypes.CDLL:
    """Return a library with the functions of Opus that have other types than int."""
    library = ctypes.CDLL(str(path))
    for name in ("opus_encoder", "opus_decoder", "opus_multistream_decoder"):
        if hasattr(library, f"{name}_create"):
            getattr(library, f"{name}_create").restype = ctypes.c_void_p
            getattr(library, f"{name}_destroy").restype = None
    return library


@pytest.fixture(scope="module")
def opus() -> ctypes.CDLL:
    try:
        return loaded("libopus.so.0")
    except OSError:
        pytest.skip("libopus is not installed")


@pytest.fixture(scope="module")
def inside(built: Library, opus: ctypes.CDLL) -> ctypes.CDLL:
    return loaded(built.library.with_name(INSIDE))


class Decoder:
    """A decoder of libopus, or of what stands before it."""

    def __init__(self, library: ctypes.CDLL, channels: int = 1, *, several: bool = False) -> None:
        self.library, self.channels = library, channels
        self.kind = "multistream_" if several else ""
        maker = getattr(library, f"opus_{self.kind}decoder_create")
        wanted: tuple[Any, ...] = MAPPINGS[channels] if several else ()
        self.handle = ctypes.c_void_p(maker(RATE, channels, *wanted, None))
        assert self.handle

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        getattr(self.library, f"opus_{self.kind}decoder_destroy")(self.handle)

    def decode(
        self, packet: bytes | None, count: int = FRAME, *, fec: bool = False, floats: bool = False
    ) -> Samples:
        """Return samples, shape (count, channels); an error as one number."""
        out = np.full((max(count, 1), self.channels), 7, np.float32 if floats else np.int16)
        name = f"opus_{self.kind}decode{'_float' if floats else ''}"
        size = 0 if packet is None else len(packet)
        got = getattr(self.library, name)(
            self.handle, packet, size, ctypes.c_void_p(out.ctypes.data), count, int(fec)
        )
        return out[:got] if got >= 0 else np.array(got)

    def reset(self) -> None:
        assert self.library.opus_decoder_ctl(self.handle, RESET) == 0


def encoded(
    opus: ctypes.CDLL,
    signal: Samples,
    frame: int = FRAME,
    application: int = AUDIO,
    **controls: int,
) -> list[bytes]:
    """Return the packets of a signal, shape (n, channels)."""
    signal = np.ascontiguousarray(signal, np.float32).reshape(len(signal), -1)
    coder = ctypes.c_void_p(opus.opus_encoder_create(RATE, signal.shape[1], application, None))
    for name, value in controls.items():
        assert opus.opus_encoder_ctl(coder, globals()[name], value) == 0
    packets, room = [], ctypes.create_string_buffer(4000)
    for at in range(0, len(signal) - frame + 1, frame):
        piece = ctypes.c_void_p(signal[at:].ctypes.data)
        size = opus.opus_encode_float(coder, piece, frame, room, 4000)
        packets.append(room.raw[:size])
    opus.opus_encoder_destroy(coder)
    return packets


@pytest.fixture(scope="module")
def voice() -> Samples:
    return recording("speech", RATE)[:, None]


def both(
    opus: ctypes.CDLL, inside: ctypes.CDLL, channels: int = 1, **how: bool
) -> Iterator[tuple[Decoder, Decoder]]:
    with Decoder(opus, channels, **how) as one, Decoder(inside, channels, **how) as other:
        yield one, other


@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("frame", [120, 240, 480, 960, 1920, 2880])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_received_is_played_bit_for_bit(
    opus: ctypes.CDLL, inside: ctypes.CDLL, voice: Samples, channels: int, frame: int, floats: bool
) -> None:
    packets = encoded(opus, np.repeat(voice[:RATE], channels, axis=1), frame)
    for one, other in both(opus, inside, channels):
        for packet in packets:
            expected = one.decode(packet, 5760, floats=floats)
            assert np.array_equal(expected, other.decode(packet, 5760, floats=floats))
            assert len(expected) == frame


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("length", range(120, 5761, 600))
def test_losses_of_any_length_are_made_up_and_the_decoder_goes_on(
    opus: ctypes.CDLL, inside: ctypes.CDLL, voice: Samples, length: int, several: bool
) -> None:
    """Several in a row, of 2.5 to 120 ms; behind the crossfade Opus' own samples are played."""
    for one, other in both(opus, inside, several=several):
        for k, packet in enumerate(encoded(opus, voice)):
            expected, heard = one.decode(packet), other.decode(packet)
            behind = k > 0 and k % 10 == 0
            assert np.array_equal(expected[FRAME // 4 * behind :], heard[FRAME // 4 * behind :])
            if k % 10 == 9:
                for _ in range(2):
                    expected, heard = one.decode(None, length), other.decode(None, length)
                    assert len(heard) == len(expected) == length
            if k == 39:
                assert not np.array_equal(expected, heard)


def test_a_loss_is_nearer_to_what_was_sent_than_opus_makes_it(
    opus: ctypes.CDLL, inside: ctypes.CDLL
) -> None:
    at = np.arange(2 * RATE) / RATE
    tones = 0.2 * np.sin(2 * np.pi * np.outer(at, (220.0, 331.0, 997.0))).sum(axis=1)
    packets = encoded(opus, tones[:, None], SET_BITRATE=128_000)
    errors = np.zeros(2)
    with Decoder(opus) as whole:
        for one, other in both(opus, inside):
            for k, packet in enumerate(packets):
                sent = whole.decode(packet, floats=True)
                lost = k > 20 and k % 7 == 0
                made = [each.decode(None if lost else packet, floats=True) for each in (one, other)]
                errors += [lost * float(np.sum((each - sent) ** 2)) for each in made]
    assert errors[1] < 0.2 * errors[0]


def test_a_copy_in_the_next_packet_is_received(
    opus: ctypes.CDLL, inside: ctypes.CDLL, voice: Samples
) -> None:
    """With the part before it made up, where more is asked for than it has."""
    packets = encoded(
        opus, voice, application=VOIP, SET_BITRATE=24_000, SET_FEC=1, SET_LOSS=30, FORCE_MODE=SILK
    )
    having = [k for k, packet in enumerate(packets) if k > 10 and packet[1] >> 6 & 1]
    assert len(having) > 20
    for one, other in both(opus, inside):
        for k, packet in enumerate(packets):
            if k in having[::8]:
                assert np.array_equal(one.decode(packet, fec=True), other.decode(packet, fec=True))
            if k in having[4::8]:
                old, new = (each.decode(packet, 2 * FRAME, fec=True) for each in (one, other))
                assert not np.array_equal(old[:FRAME], new[:FRAME])
                assert np.array_equal(old[FRAME + FRAME // 4 :], new[FRAME + FRAME // 4 :])
            assert np.array_equal(one.decode(packet), other.decode(packet))


@pytest.mark.parametrize("bitrate", [24_000, 128_000])
def test_without_a_copy_in_it_a_loss_is_made_up(
    opus: ctypes.CDLL, inside: ctypes.CDLL, voice: Samples, bitrate: int
) -> None:
    application = VOIP if bitrate < 100_000 else AUDIO
    packets = encoded(opus, voice, application=application, SET_BITRATE=bitrate)
    for one, other in both(opus, inside):
        for packet in packets[:30]:
            one.decode(packet), other.decode(packet)
        pair = [each.decode(packets[31], fec=True) for each in (one, other)]
        assert not np.array_equal(pair[0], pair[1])


def test_noise_of_a_pause_is_the_decoders(
    opus: ctypes.CDLL, inside: ctypes.CDLL, voice: Samples
) -> None:
    rng = np.random.default_rng(1)
    quiet = 1e-4 * rng.standard_normal((RATE, 1))
    packets = encoded(
        opus,
        np.concatenate([voice[:RATE], quiet]),
        application=VOIP,
        SET_BITRATE=20_000,
        SET_DTX=1,
        FORCE_MODE=SILK,
    )
    short = [len(packet) <= 2 for packet in packets]
    assert sum(short) > 10
    for one, other in both(opus, inside):
        for packet, is_short in zip(packets, short, strict=True):
            for each in [packet, None, None] if is_short else [packet]:
                assert np.array_equal(one.decode(each), other.decode(each))


def test_a_reset_forgets_what_was_heard(
    opus: ctypes.CDLL, inside: ctypes.CDLL, voice: Samples
) -> None:
    for one, other in both(opus, inside):
        for packet in encoded(opus, voice)[:50]:
            one.decode(packet), other.decode(packet)
        one.reset()
        other.reset()
        assert not one.decode(None).any()
        assert not other.decode(None).any()


def test_lengths_and_forms_change_in_a_stream(
    opus: ctypes.CDLL, inside: ctypes.CDLL, voice: Samples
) -> None:
    packets = [p for frame in (960, 120, 2880, 240) for p in encoded(opus, voice[:RATE], frame)]
    for one, other in both(opus, inside):
        for k, packet in enumerate(packets):
            if k % 6 == 5:
                heard = other.decode(None, 120 * (1 + k % 9), floats=bool(k % 4))
                one.decode(None, len(heard))
                assert np.isfinite(heard).all()
            expected, heard = (each.decode(packet, 5760) for each in (one, other))
            assert k % 6 < 2 or k % 6 == 5 or np.array_equal(expected, heard)


def test_errors_are_passed_on(opus: ctypes.CDLL, inside: ctypes.CDLL, voice: Samples) -> None:
    packet = encoded(opus, voice)[9]
    for one, other in both(opus, inside):
        for data, count in (
            (packet, 100),
            (b"\xff" * 9, FRAME),
            (None, 121),
            (None, 0),
            (packet, 960),
        ):
            expected, heard = one.decode(data, count), other.decode(data, count)
            assert np.array_equal(expected, heard)
    assert not inside.opus_decoder_create(44_100, 1, None)


@pytest.mark.parametrize("channels", [2, 6, 12])
def test_many_channels(opus: ctypes.CDLL, inside: ctypes.CDLL, channels: int) -> None:
    """More than eight are left to Opus."""
    for one, other in both(opus, inside, channels, several=True):
        for _ in range(3):  # nothing was received, so nothing is made up
            assert np.array_equal(one.decode(None), other.decode(None))


def test_decoders_in_memory_of_the_program(
    opus: ctypes.CDLL, inside: ctypes.CDLL, voice: Samples
) -> None:
    """Nobody says their end: no more than some hundred streams are kept."""
    packets = encoded(opus, voice)[20:24]
    size = (
        inside.opus_decoder_get_size(1)
        if hasattr(inside, "opus_decoder_get_size")
        else opus.opus_decoder_get_size(1)
    )
    memory = [ctypes.create_string_buffer(size) for _ in range(700)]
    sizes = []
    for k, each in enumerate(memory):
        if k in (300, 699):
            sizes.append(
                int(re.findall(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[0])
            )
        other = Decoder.__new__(Decoder)
        other.library, other.channels, other.kind, other.handle = (
            inside,
            1,
            "",
            ctypes.c_void_p(ctypes.addressof(each)),
        )
        assert inside.opus_decoder_init(other.handle, RATE, 1) == 0
        for packet in packets:
            other.decode(packet)
        made = other.decode(None)
        assert made.any() or k < 0
    assert sizes[1] - sizes[0] < 50_000


def test_threads_with_decoders_of_their_own(
    opus: ctypes.CDLL, inside: ctypes.CDLL, voice: Samples
) -> None:
    packets = encoded(opus, voice)

    def played() -> Samples:
        with Decoder(inside) as one:
            return np.concatenate(
                [one.decode(None if k % 5 == 4 else p) for k, p in enumerate(packets)]
            )

    expected, heard = played(), []
    threads = [threading.Thread(target=lambda: heard.append(played())) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(heard) == 6
    assert all(np.array_equal(expected, each) for each in heard)


def test_a_child_goes_on_with_a_decoder(
    opus: ctypes.CDLL, inside: ctypes.CDLL, voice: Samples
) -> None:
    with Decoder(inside) as one:
        for packet in encoded(opus, voice)[:50]:
            one.decode(packet)
        child = os.fork()
        heard = one.decode(None)
        if not child:
            os._exit(0 if heard.any() else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert heard.any()


class Used(ctypes.Structure):
    """``struct mallinfo2``, of which the eighth number is what is allocated."""

    _fields_ = [(f"n{k}", ctypes.c_size_t) for k in range(10)]


def test_nothing_is_allocated_behind_the_first_packet(
    opus: ctypes.CDLL, inside: ctypes.CDLL, voice: Samples
) -> None:
    used = ctypes.CDLL(None).mallinfo2
    used.restype = Used
    packets = encoded(opus, voice)
    with Decoder(inside) as one:
        one.decode(packets[0]), one.decode(None)
        before = used().n7
        for k, packet in enumerate(packets):
            one.decode(None if k % 4 == 3 else packet, 600 if k % 8 == 7 else FRAME)
        assert used().n7 - before < 16_000
    assert before - used().n7 > 500_000  # and the stream ends with the decoder


@pytest.mark.parametrize("frame", [120, 240, 480])
def test_custom_modes(opus: ctypes.CDLL, inside: ctypes.CDLL, frame: int) -> None:
    """Of such lengths alone: of others Debian's libopus fails an assertion of its own."""
    if not hasattr(opus, "opus_custom_mode_create"):
        pytest.skip("libopus has no custom modes")
    sent = 0.3 * np.sin(2 * np.pi * 440.0 * np.arange(RATE) / RATE).astype(np.float32)
    room = ctypes.create_string_buffer(500)
    for library in (opus, inside):
        library.opus_custom_mode_create.restype = ctypes.c_void_p
        library.opus_custom_decoder_create.restype = ctypes.c_void_p
    opus.opus_custom_encoder_create.restype = ctypes.c_void_p
    modes = [
        ctypes.c_void_p(each.opus_custom_mode_create(RATE, frame, None)) for each in (opus, inside)
    ]
    coder = ctypes.c_void_p(opus.opus_custom_encoder_create(modes[0], 1, None))
    decoders = [
        ctypes.c_void_p(each.opus_custom_decoder_create(mode, 1, None))
        for each, mode in zip((opus, inside), modes, strict=True)
    ]
    past = np.zeros((2, RATE), np.float32)
    for at in range(0, RATE - frame, frame):
        piece = ctypes.c_void_p(sent[at:].ctypes.data)
        size = opus.opus_custom_encode_float(coder, piece, frame, room, 150)
        lost = at > RATE // 2 and at // frame % 9 == 0
        for heard, library, handle in zip(past, (opus, inside), decoders, strict=True):
            given = (None, 0) if lost else (room, size)
            out = ctypes.c_void_p(heard[at:].ctypes.data)
            assert library.opus_custom_decode_float(handle, *given, out, frame) == frame
        if at // frame % 9 > 1:
            assert np.array_equal(past[0, at : at + frame], past[1, at : at + frame])
    assert not np.array_equal(past[0], past[1])
    inside.opus_custom_decoder_destroy(decoders[1])
    inside.opus_custom_mode_destroy(modes[1])


def test_no_name_of_libplc_is_seen(built: Library) -> None:
    command = ["nm", "-D", "--defined-only", "-j", str(built.library.with_name(INSIDE))]
    names = subprocess.check_output(command, text=True).split()
    telephone = {"plc_init", "plc_rx", "plc_fillin", "plc_release", "plc_free"}
    assert {name for name in names if not name.startswith("opus_")} == telephone


def test_spandsps_calls_are_made_up(inside: ctypes.CDLL) -> None:
    try:
        spandsp = ctypes.CDLL("libspandsp.so.2")
    except OSError:
        pytest.skip("spandsp is not installed")
    sent = np.rint(8000 * np.sin(2 * np.pi * 233.0 * np.arange(16_000) / 8000)).astype(np.int16)
    errors = []
    for library in (spandsp, inside):
        library.plc_init.restype = ctypes.c_void_p
        memory = ctypes.create_string_buffer(4096)
        handle = ctypes.c_void_p(library.plc_init(memory))
        error = 0.0
        for at in range(0, len(sent), 160):
            piece = sent[at : at + 160].copy()
            lost = at > 8000 and at // 160 % 5 == 0
            call = library.plc_fillin if lost else library.plc_rx
            assert call(handle, ctypes.c_void_p(piece.ctypes.data), 160) == 160
            error += lost * float(np.sum((piece - sent[at : at + 160].astype(float)) ** 2))
        library.plc_release(handle)
        errors.append(error)
    assert errors[1] < 0.2 * errors[0]


@pytest.fixture(scope="module")
def models(built: Library, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder / ALL


@pytest.fixture
def preloaded(built: Library, models: Path) -> dict[str, str]:
    return os.environ | {
        "LD_PRELOAD": str(built.library.with_name(INSIDE)),
        "PLC_INSIDE_MODELS": str(models),
        "PLC_INSIDE_LOG": "1",
    }


@pytest.fixture
def opusdec(tmp_path: Path) -> list[str]:
    if shutil.which("opusdec") is None or shutil.which("opusenc") is None:
        pytest.skip("opus-tools are not installed")
    clip = str(ROOT / "plc/data/speech.flac")
    subprocess.run(["opusenc", "--quiet", clip, tmp_path / "clip.opus"], check=True)
    return ["opusdec", "--quiet", "--no-dither", "--packet-loss", "20", str(tmp_path / "clip.opus")]


def ran(command: list[str], out: Path, variables: dict[str, str]) -> tuple[Samples, str]:
    """Return what a program wrote, and what it said."""
    done = subprocess.run(
        [*command, str(out)], env=variables, capture_output=True, text=True, check=True
    )
    return soundfile.read(out)[0], done.stderr


def test_opusdec_plays_losses_of_libplc(
    opusdec: list[str], preloaded: dict[str, str], tmp_path: Path
) -> None:
    alone, said = ran(opusdec, tmp_path / "alone.wav", dict(os.environ))
    assert said == ""
    heard, said = ran(opusdec, tmp_path / "heard.wav", preloaded)
    found = re.fullmatch(
        r"plc inside: Opus, multistream, 48000 Hz, 1 channel: (\d+) losses, "
        r"([\d.]+) s of ([\d.]+) s made up, longest (\d+).0 ms\n",
        said,
    )
    assert found, said
    assert int(found[1]) > 5
    assert 0.1 < float(found[2]) / float(found[3]) < 0.3
    assert int(found[4]) % 20 == 0
    assert heard.shape == alone.shape
    same = float(np.mean(heard == alone))
    assert 0.6 < same < 0.9
    off, said = ran(opusdec, tmp_path / "off.wav", preloaded | {"PLC_INSIDE": "off"})
    assert said == ""
    assert np.array_equal(off, alone)


def test_without_networks_it_says_so_in_a_line(
    opusdec: list[str], preloaded: dict[str, str], tmp_path: Path
) -> None:
    without = preloaded | {"PLC_INSIDE_MODELS": "/none.plcm", "PLC_INSIDE_LOG": "0"}
    heard, said = ran(opusdec, tmp_path / "heard.wav", without)
    assert re.fullmatch(r"plc inside: /none\.plcm: .*; prediction alone\n", said)
    assert heard.any()


def test_gstreamers_decoder_loaded_later_plays_losses_of_libplc(
    preloaded: dict[str, str], tmp_path: Path
) -> None:
    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("GStreamer is not installed")
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, recording("speech", RATE), RATE)
    pipeline = (
        f"-q filesrc location={clip} ! wavparse ! audioconvert ! opusenc ! rtpopuspay ! "
        "identity drop-probability=0.2 ! rtpjitterbuffer latency=100 do-lost=true ! rtpopusdepay ! "
        f"opusdec plc=true ! wavenc ! filesink location={tmp_path / 'out.wav'}"
    )
    variables = preloaded | {"GST_REGISTRY": str(tmp_path / "registry")}
    done = subprocess.run(
        ["gst-launch-1.0", *pipeline.split()],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if "no element" in done.stderr:
        pytest.skip("GStreamer's Opus or RTP elements are not installed")
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"plc inside: Opus, multistream, 48000 Hz, 1 channel: [1-9]\d* losses", done.stderr
    )


def test_both_commands_start_a_program_with_it(
    built: Library,
    models: Path,
    opusdec: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prefix = tmp_path / "prefix"
    sources = [
        Path(shutil.copy(path, tmp_path))
        for path in (built.library, built.library.with_name(INSIDE))
    ]
    package(sources, prefix, prefix=True)
    shutil.copy(models, prefix / "lib/plc/plc.plcm")
    own = environment() | {"PLC_CACHE_DIR": str(tmp_path / "cache")}
    monkeypatch.setenv("PLC_CACHE_DIR", own["PLC_CACHE_DIR"])
    monkeypatch.setattr(kept, "CARRIED", built.library.parent)  # else it is built, for minutes
    assert kept.kept_library() == kept.kept_library()
    said = [
        ran([str(prefix / "bin" / WRAPPER), "--log", *opusdec], tmp_path / "1.wav", own)[1],
        ran([sys.executable, "-m", "plc", "inside", "--log", *opusdec], tmp_path / "2.wav", own)[1],
    ]
    assert all(each.splitlines()[-1].startswith("plc inside: Opus") for each in said)
    assert said[0].splitlines()[-1] == said[1].splitlines()[-1]
    for path in ("1.wav", "2.wav"):
        assert (tmp_path / path).read_bytes() == (tmp_path / "1.wav").read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "plc", "inside", "no-such-program"],
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "plc: there is no program no-such-program\n")
