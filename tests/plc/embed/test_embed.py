"""The engine for other languages: one format, flags, and the C library built and called."""

import ctypes
import json
import math
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from plc import conceal
from plc.audio.loss import write_trace
from plc.cli import embed
from plc.embed import library
from plc.embed.library import Library, build_library
from plc.embed.stream import EmbeddedStream, Flag, Format
from plc.errors import ConfigError, MissingExtraError
from tests.plc.configs import changed, embedded
from tests.signals import tones

ROOT = Path(__file__).parents[3]
RATE = 16_000
BLOCK = 160
SETTINGS = embedded(sample_rate=RATE, packet_samples=BLOCK, model="ar", budget_ms=math.inf)


def can_build() -> str | None:
    """Return why the library cannot be built here, None if it can."""
    if shutil.which("gcc") is None:
        return "gcc is not installed"
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        return "Python's headers are not installed"
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        return "this Python has no shared library"
    return None


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Library:
    pytest.importorskip("cffi")
    reason = can_build()
    if reason:
        pytest.skip(reason)
    return build_library(tmp_path_factory.mktemp("libplc"))


def compiled(source: Path, built: Library) -> Path:
    program = built.library.parent / source.stem
    flags = ["-Wall", "-Wextra", "-Werror", "-std=c11", "-D_GNU_SOURCE", "-pthread"]
    command = ["gcc", *flags, str(source), "-o", str(program), *built.flags.split(), "-lm"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return program


def run(program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program in an environment that says nothing about Python."""
    environment = {
        name: os.environ[name] for name in ("HOME", "NUMBA_CACHE_DIR", "PATH") if name in os.environ
    }
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("lookahead", [0, 2])
@pytest.mark.parametrize("format_", Format)
def test_a_stream_gives_what_the_engine_gives(format_: Format, lookahead: int) -> None:
    signal = tones(1, RATE, 30 * BLOCK)[:, None]
    if format_ is Format.INT16:
        signal = np.rint(signal * 32767).astype(np.int16)
    lost = np.random.default_rng(2).random(30) < 0.3
    lost[0] = True  # before the format can be seen from a packet
    stream = EmbeddedStream(changed(SETTINGS, format=format_, lookahead=lookahead))
    played = np.zeros(((30 + lookahead) * BLOCK, 1), format_.dtype)
    for k, packet in enumerate(signal.reshape(30, BLOCK, 1)):
        out = played[k * BLOCK : (k + 1) * BLOCK]
        stream.push(None if lost[k] else packet, out)
    stream.flush(played[30 * BLOCK :])
    expected = conceal(
        signal, lost, sample_rate=RATE, packet_samples=BLOCK, lookahead=lookahead, model="ar"
    )
    assert np.array_equal(played[lookahead * BLOCK :], expected)


def test_a_packet_may_be_written_over() -> None:
    packets = tones(1, RATE, 6 * BLOCK).reshape(6, BLOCK, 1)
    apart, within = EmbeddedStream(SETTINGS), EmbeddedStream(SETTINGS)
    out = np.empty((BLOCK, 1), np.float32)
    for k, packet in enumerate(packets):
        flags = apart.push(None if k == 3 else packet, out)
        memory = packet.copy()
        assert within.push(None if k == 3 else memory, memory) == flags
        assert np.array_equal(memory, out)


def test_flags_tell_concealed_from_crossfaded_and_refused() -> None:
    stream = EmbeddedStream(SETTINGS)
    packet = tones(1, RATE, BLOCK)[:, None]
    broken = np.full_like(packet, np.inf)
    out = np.empty_like(packet)
    flags = [stream.push(given, out) for given in (packet, None, packet, packet, broken)]
    assert flags == [0, Flag.CONCEALED, Flag.CROSSFADED, 0, Flag.CONCEALED | Flag.REFUSED]


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"format is 3; give 1 \(float32\) or 2 \(int16\)"):
        EmbeddedStream(changed(SETTINGS, format=3))


@pytest.mark.parametrize(
    ("subtype", "channels", "model"), [("PCM_16", 1, "ar"), ("FLOAT", 2, "ar"), ("PCM_16", 1, None)]
)
def test_the_example_gives_what_the_engine_gives(
    built: Library, tmp_path: Path, subtype: str, channels: int, model: str | None
) -> None:
    if model is None:
        pytest.importorskip("onnxruntime")
    rate = RATE if model else 48_000
    block = rate // 100
    rows = np.stack([tones(c, rate, 100 * block - 7) for c in range(channels)], axis=1)
    lost = np.random.default_rng(3).random(100) < 0.1
    soundfile.write(tmp_path / "in.wav", rows, rate, subtype)
    write_trace(tmp_path / "lost.trace", lost, ["one line\n# and another"])
    program = compiled(ROOT / "examples" / "c" / "conceal.c", built)
    arguments: list[str | Path] = [
        tmp_path / "in.wav",
        tmp_path / "lost.trace",
        tmp_path / "out.wav",
        str(block),
    ]
    done = run(program, *arguments, *[model or "auto"])
    assert done.returncode == 0, done.stderr
    assert f"100 packets, {lost.sum()} lost" in done.stdout
    dtype = "int16" if subtype == "PCM_16" else "float32"
    signal, _ = soundfile.read(tmp_path / "in.wav", dtype=dtype, always_2d=True)
    played, _ = soundfile.read(tmp_path / "out.wav", dtype=dtype, always_2d=True)
    expected = conceal(signal, lost, sample_rate=rate, packet_samples=block, model=model or "auto")
    assert np.array_equal(played, expected)


def test_the_example_refuses_what_it_cannot_read(built: Library, tmp_path: Path) -> None:
    program = compiled(ROOT / "examples" / "c" / "conceal.c", built)
    (tmp_path / "in.wav").write_bytes(b"RIFF")
    done = run(program, tmp_path / "in.wav", tmp_path / "in.wav", tmp_path / "out.wav")
    assert done.returncode == 1
    assert "is no WAV file" in done.stderr


def test_every_misuse_from_c_is_an_error_code_and_streams_are_independent(built: Library) -> None:
    """The program's own checks: ``embed_probe.c`` says which; it prints nothing if all hold."""
    program = compiled(Path(__file__).parent / "embed_probe.c", built)
    done = run(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.realtime
def test_a_push_from_c_is_timed(built: Library) -> None:
    program = compiled(ROOT / "bench" / "plc_bench" / "robust" / "push_cost.c", built)
    done = run(program, "200", "10", "ar")
    report = json.loads(done.stdout)
    assert report["concealed_ms"]["packets"] == 19
    assert 0 < report["received_ms"]["p50"] <= report["received_ms"]["max"]


def test_a_python_that_is_gone_is_named(built: Library, tmp_path: Path) -> None:
    program = compiled(ROOT / "bench" / "plc_bench" / "robust" / "push_cost.c", built)
    bare = tmp_path / "bin" / "python"
    environment = {"PLC_PYTHON": str(bare), "PATH": "/nowhere"}
    done = subprocess.run(
        [str(program)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "the engine cannot be loaded" in done.stderr


def test_the_library_works_inside_a_python_too(built: Library) -> None:
    script = f"""
import ctypes
plc = ctypes.CDLL({str(built.library)!r})
plc.plc_error.restype = ctypes.c_char_p
plc.plc_open.restype = ctypes.c_int64
options = (ctypes.c_byte * 56)()
plc.plc_options_init(options)
stream = plc.plc_open(options)
assert stream == 1, plc.plc_error()
out = (ctypes.c_float * 480)(*[1.0] * 480)
assert plc.plc_push(ctypes.c_int64(stream), None, out) == 1
assert list(out) == [0.0] * 480
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cffi")
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ConfigError, match="no C compiler no-such-compiler; apt-get install gcc"):
        build_library(tmp_path)


def test_missing_headers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cffi")
    monkeypatch.setenv("CC", sys.executable)
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"include": str(tmp_path)})
    with pytest.raises(ConfigError, match="apt-get install python3-dev"):
        build_library(tmp_path)


def test_a_python_without_a_shared_library_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cffi")
    (tmp_path / "Python.h").touch()
    monkeypatch.setenv("CC", sys.executable)
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"include": str(tmp_path)})
    monkeypatch.setattr("sysconfig.get_config_vars", dict)
    with pytest.raises(ConfigError, match="has no shared library"):
        build_library(tmp_path)


def test_missing_cffi_is_named_with_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cffi", None)
    with pytest.raises(MissingExtraError, match=r'pip install "plc-engine\[c\]"'):
        build_library(tmp_path)


def test_the_command_builds_and_says_how_to_compile(tmp_path: Path) -> None:
    pytest.importorskip("cffi")
    if reason := can_build():
        pytest.skip(reason)
    app = typer.Typer()
    embed.register(app)
    result = CliRunner().invoke(app, ["c", "build", "--out", str(tmp_path / "build")])
    assert result.exit_code == 0, result.output
    assert "-lplc" in result.output
    assert ctypes.CDLL(str(tmp_path / "build" / "libplc.so")).plc_close is not None
    assert (tmp_path / "build" / "plc.h").read_text() == library.HEADER.read_text()
