"""libplc built, misused, and compared with the engine in Python, bit for bit."""

import ctypes
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

import plc
from plc.embed import cli, library
from plc.embed.library import Library, build_library, write_sources
from plc.embed.models import write_models
from plc.embed.packaging import INSIDE, PLUGIN, SHARED, SONAME, WRAPPER, header
from plc.engine.loss import GilbertElliott
from plc.errors import ConfigError
from plc_kernels.build.targets import TARGETS, X86_64, machine, targets_of
from plc_kernels.emit.objects import environment_of
from plc_kernels.emit.symbols import MATHEMATICS, MEMORY, undefined_symbols
from plc_kernels.signal.rungs import STEADY_MS
from plc_kernels.stream import entry, layout
from tests.options import ran
from tests.plc.embed.c_side import (
    EXAMPLE,
    ROOT,
    TOLERANCE,
    WARNINGS,
    c_side,
    compiled,
    conceals,
    recording,
    run,
)
from tests.signals import tones

HERE = Path(__file__).parent
on_x86 = pytest.mark.skipif(machine() != X86_64, reason="compares types of x86-64")


@dataclass(frozen=True, slots=True)
class Case:
    """A stream's format."""

    rate: int
    channels: int
    subtype: str
    packet: int
    lookahead: int


CASES = [
    Case(8_000, 1, "PCM_16", 160, 0),
    Case(8_000, 2, "FLOAT", 64, 1),
    Case(16_000, 1, "FLOAT", 320, 0),
    Case(16_000, 1, "PCM_16", 64, 2),
    Case(22_050, 1, "PCM_16", 441, 1),
    Case(24_000, 2, "FLOAT", 480, 2),
    Case(32_000, 2, "PCM_16", 640, 0),
    Case(44_100, 2, "FLOAT", 441, 2),
    Case(48_000, 1, "FLOAT", 64, 0),
    Case(48_000, 2, "PCM_16", 480, 0),
    Case(48_000, 2, "FLOAT", 960, 1),
    Case(48_000, 1, "PCM_16", 960, 2),
]
LISTED: list[list[object]] = [[c.rate, c.channels, c.subtype, c.packet, c.lookahead] for c in CASES]
SECONDS = 1.5
ALL = range(len(CASES))
# Long orders and short packets: a minute each under qemu.
EMULATED = [k for k in ALL if CASES[k].rate < 32_000 or CASES[k].packet > 500]

# Conceal the files in a folder as the example does; a process of its own, as numba reads the
# processor's name once.
REFERENCE = """
import json, sys
from pathlib import Path
import numpy as np, soundfile
from plc import Concealer
folder = Path(sys.argv[1])
for k, (rate, channels, subtype, packet, lookahead) in enumerate(json.loads(sys.argv[2])):
    dtype = "int16" if subtype == "PCM_16" else "float32"
    signal, _ = soundfile.read(folder / f"{k}.wav", dtype=dtype, always_2d=True)
    lost = [c == "1" for c in (folder / f"{k}.lost").read_text().strip()]
    concealer = Concealer(
        rate, channels, packet, lookahead, method="ar", budget_ms=float("inf")
    )
    padded = np.zeros((len(lost) * packet, channels), dtype)
    padded[: len(signal)] = signal
    cut = padded.reshape(len(lost), packet, channels)
    out = [np.asarray(concealer.push(None if gone else p)) for p, gone in zip(cut, lost)]
    out.append(concealer.flush())
    if dtype == "int16":
        out = [o if o.dtype == dtype else o.astype(dtype) for o in out]
    whole = np.concatenate(out)[lookahead * packet :][: len(signal)]
    np.save(folder / f"{k}.npy", whole)
"""


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a recording and a trace for each case."""
    folder = tmp_path_factory.mktemp("cases")
    for k, case in enumerate(CASES):
        length = int(SECONDS * case.rate) - 7
        rng = np.random.default_rng(k)
        rows = [tones(2 * k + c, case.rate, length) for c in range(case.channels)]
        signal = np.stack(rows, axis=1) + 1e-3 * rng.standard_normal((length, case.channels))
        soundfile.write(folder / f"{k}.wav", signal, case.rate, case.subtype)
    return folder


def conceal_all(
    program: Path,
    folder: Path,
    suffix: str,
    *prefix: str,
    cases: Sequence[int] = ALL,
    prepare: str = "0",
) -> list[NDArray[np.float64]]:
    """Run the example on recordings; return what it wrote, float64, shape (n, channels)."""
    heard = []
    for k in cases:
        case = CASES[k]
        trace = folder / f"{k}.lost"
        out = folder / f"{k}-{suffix}.wav"
        command: list[str | Path] = [*prefix, program, folder / f"{k}.wav", out]
        if trace.exists():
            command += ["--trace", trace]
        else:
            command += ["--loss", "12%", "--burst", "2", "--seed", str(k), "--write-trace", trace]
        level = re.search(r"v\d", suffix)
        command += ["--processor", level[0]] if level else []
        command += ["--packet", str(case.packet), "--lookahead", str(case.lookahead)]
        done = conceals(*command, "--prepare", prepare)
        assert done.returncode == 0, done.stderr
        found = re.match(r"(\d+) packets, (\d+) lost: (\d+) samples concealed", done.stdout)
        assert found is not None
        assert int(found[2]) == trace.read_text().count("1") > 0
        assert int(found[3]) > 0
        heard.append(soundfile.read(out, dtype="float64", always_2d=True)[0])
    return heard


def reference(
    folder: Path, level: str, cases: list[list[object]] = LISTED, program: str = REFERENCE
) -> list[NDArray[np.float64]]:
    """Return what the engine in Python makes of the same, compiled for a type of processor."""
    environment = os.environ | environment_of(TARGETS[f"x86-64-{level}"])
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT, ROOT / "kernels")))
    command = [sys.executable, "-c", program, str(folder), json.dumps(cases)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = [np.load(folder / f"{k}.npy") for k in range(len(cases))]
    return [each / 32768.0 if each.dtype == np.int16 else each.astype(float) for each in made]


NETWORKS = [
    # Recording, sample rate, format, samples of a packet, packets of lookahead, what is told.
    ("speech", 8_000, "PCM_16", 160, 0, ""),
    ("speech", 8_000, "FLOAT", 160, 1, ""),
    ("speech", 16_000, "FLOAT", 320, 0, ""),
    ("speech", 16_000, "PCM_16", 160, 1, ""),
    ("speech", 16_000, "FLOAT", 320, 2, ""),
    ("speech", 48_000, "FLOAT", 480, 0, ""),
    ("speech", 48_000, "PCM_16", 960, 1, ""),
    ("speech", 48_000, "FLOAT", 480, 2, ""),
    ("music", 16_000, "PCM_16", 160, 0, ""),
    ("music", 48_000, "FLOAT", 480, 0, ""),
    ("music", 48_000, "PCM_16", 240, 0, ""),
    ("music", 48_000, "FLOAT", 960, 1, ""),
    ("speech", 48_000, "FLOAT", 480, 1, "speech"),
    ("speech", 16_000, "PCM_16", 320, 1, "music"),
    ("music", 48_000, "FLOAT", 480, 0, "music"),
    ("music", 48_000, "FLOAT", 480, 0, "speech"),
]
# As REFERENCE, with the networks that the content asks for.
AUTO = REFERENCE.replace('method="ar", ', 'prepare="never", content=content or "auto", ')
AUTO = AUTO.replace("packet, lookahead) in", "packet, lookahead, content) in")


@on_x86
@pytest.mark.system
def test_c_conceals_with_networks_as_python_does_bit_for_bit(
    built: Library, tmp_path: Path
) -> None:
    program = compiled(EXAMPLE, built)
    models = tmp_path / "models"
    written = write_models(models)
    names = ["music.plcm", "speech.plcm", "speech-bridge.plcm", "speech-narrowband.plcm"]
    assert [each.name for each in written] == [*names, "all.plcm"]
    whole = models / "all.plcm"
    heard = []
    for k, (name, rate, subtype, packet, lookahead, content) in enumerate(NETWORKS):
        soundfile.write(tmp_path / f"{k}.wav", recording(name, rate), rate, subtype)
        command: list[str | Path] = [program, tmp_path / f"{k}.wav", tmp_path / f"{k}-c.wav"]
        command += ["--packet", str(packet), "--lookahead", str(lookahead), "--processor", "v3"]
        command += ["--loss", "25%", "--burst", "2.5", "--write-trace", tmp_path / f"{k}.lost"]
        command += ["--content", content] if content else []
        done = conceals(*command, "--models", whole)
        assert done.returncode == 0, done.stderr
        served = re.search(r"^(\d+) of them with a network$", done.stdout, re.MULTILINE)
        assert served is not None
        assert int(served[1]) > 0
        heard.append(soundfile.read(tmp_path / f"{k}-c.wav", always_2d=True)[0])
        command[2] = tmp_path / f"{k}-prepared.wav"
        assert conceals(*command, "--models", whole, "--prepare", "1").stdout == done.stdout
        ahead = soundfile.read(tmp_path / f"{k}-prepared.wav", always_2d=True)[0]
        assert np.array_equal(ahead, heard[-1])
    for limit_ms, serves in (("0.001", False), ("1000", True)):
        done = conceals(*command, "--models", whole, "--limit-ms", limit_ms)
        served = re.search(r"^(\d+) of them with a network$", done.stdout, re.MULTILINE)
        assert served is not None
        assert (int(served[1]) > 0) == serves
    spoilt = bytearray(whole.read_bytes())
    spoilt[-1000] ^= 1
    whole.write_bytes(spoilt)
    done = run(*command, "--models", whole)
    assert (done.returncode, "damaged" in done.stderr) == (1, True), done.stderr
    cases = [[rate, 1, *rest] for _, rate, *rest in NETWORKS]
    for case, c, python in zip(
        NETWORKS, heard, reference(tmp_path, "v3", cases, AUTO), strict=True
    ):
        assert np.array_equal(c, python), case


@pytest.mark.system
@pytest.mark.parametrize(("packet", "rate"), [(960, 48_000), (2016, 48_000), (441, 22_050)])
@pytest.mark.parametrize("loss", ["20%", "45%"])
def test_c_plays_the_same_prepared_or_not(
    built: Library, tmp_path: Path, packet: int, rate: int, loss: str
) -> None:
    """Where much is lost passages of the past weigh less."""
    program = compiled(EXAMPLE, built)
    write_models(tmp_path)
    signal, recorded = soundfile.read(ROOT / "plc" / "data" / "music.flac")
    assert recorded == 48_000
    soundfile.write(tmp_path / "in.wav", signal[: 15 * recorded], rate)
    command: list[str | Path] = [program, tmp_path / "in.wav", tmp_path / "out.wav"]
    command += ["--packet", str(packet), "--loss", loss, "--models", tmp_path / "music.plcm"]
    played = []
    for prepare in "01":
        assert conceals(*command, "--prepare", prepare).returncode == 0
        played.append(soundfile.read(tmp_path / "out.wav")[0])
    assert np.array_equal(*played)


def can_be(level: str) -> bool:
    """Tell whether this processor is of a type, as the library sees it."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return {"v2": "sse4_2", "v3": "avx2", "v4": "avx512vl"}[level] in flags


@on_x86
@pytest.mark.system
@pytest.mark.parametrize(
    "level",
    ["v3", pytest.param("v2", marks=pytest.mark.deep), pytest.param("v4", marks=pytest.mark.deep)],
)
def test_c_plays_what_python_plays_bit_for_bit(
    built: Library, recordings: Path, level: str
) -> None:
    if not can_be(level):
        pytest.skip(f"this processor is no x86-64-{level}")
    heard = conceal_all(compiled(EXAMPLE, built), recordings, level)
    ahead = conceal_all(built.library.parent / EXAMPLE.stem, recordings, level, prepare="1")
    for case, c, a, python in zip(CASES, heard, ahead, reference(recordings, level), strict=True):
        assert np.array_equal(c, python), case
        assert np.array_equal(a, python), case


@on_x86
@pytest.mark.system
def test_aarch64_plays_the_same_within_a_tolerance(
    built: Library, recordings: Path, tmp_path: Path
) -> None:
    needs("aarch64-linux-gnu-gcc", "qemu-aarch64")
    here = conceal_all(compiled(EXAMPLE, built), recordings, "v2")
    arm = build_library(tmp_path, "aarch64")
    program = compiled(EXAMPLE, arm, "-static", compiler="aarch64-linux-gnu-gcc")
    there = conceal_all(program, recordings, "arm", "qemu-aarch64", cases=EMULATED)
    for k, heard in zip(EMULATED, there, strict=True):
        assert np.abs(heard - here[k]).max() < TOLERANCE, CASES[k]


@on_x86
@pytest.mark.system
def test_webassembly_plays_the_same_within_a_tolerance(
    built: Library, recordings: Path, tmp_path: Path
) -> None:
    needs("node", "wasm-ld")
    here = conceal_all(compiled(EXAMPLE, built), recordings, "v2")
    module = build_library(tmp_path, "wasm32").library
    for k, case in enumerate(CASES):
        if case.lookahead or case.subtype != "FLOAT":
            continue
        signal, _ = soundfile.read(recordings / f"{k}.wav", dtype="float32", always_2d=True)
        trace = recordings / f"{k}.lost"
        padded = np.zeros((len(trace.read_text().strip()) * case.packet, case.channels), "f4")
        padded[: len(signal)] = signal
        padded.tofile(tmp_path / "in.f32")
        files = [module, tmp_path / "in.f32", trace, tmp_path / "out.f32"]
        numbers = map(str, (case.rate, case.channels, case.packet))
        done = run("node", HERE / "wasm_probe.mjs", *files, *numbers)
        assert done.returncode == 0, done.stderr
        heard = np.fromfile(tmp_path / "out.f32", "f4").reshape(padded.shape)[: len(signal)]
        assert np.abs(heard - here[k]).max() < TOLERANCE, case


@pytest.mark.system
def test_every_misuse_from_c_is_an_error_code_and_streams_are_independent(built: Library) -> None:
    """The program's own checks: ``embed_probe.c`` says which; it prints nothing if all hold."""
    done = run(compiled(HERE / "embed_probe.c", built))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.system
@pytest.mark.parametrize(
    ("packets", "networks"),
    [
        (100_000, False),
        (20_000, True),
        *(pytest.param(1_000_000, each, marks=pytest.mark.deep) for each in (False, True)),
    ],
)
def test_random_packets_touch_no_others_memory_and_allocate_nothing(
    built: Library, tmp_path: Path, packets: int, networks: bool
) -> None:
    program = compiled(HERE / "random_packets.c", built, "-DCOUNT_ALLOCATIONS")
    more = ["5", "4", *write_models(tmp_path)] if networks else ["1"]
    done = run(program, str(packets), *more)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.system
@pytest.mark.parametrize(
    "probe",
    [
        ("random_packets.c", "100000", "2"),
        ("random_models.c", "5000", "6"),
        pytest.param(("random_models.c", "50000", "7"), marks=pytest.mark.deep),
        ("embed_probe.c",),
    ],
)
def test_the_c_side_passes_the_sanitizers(
    built: Library, tmp_path: Path, probe: tuple[str, ...]
) -> None:
    models = write_models(tmp_path) if "models" in probe[0] else []
    flags = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    program = tmp_path / "probe"
    sources = [HERE / probe[0], *c_side(built, tmp_path)]
    command = ["gcc", *WARNINGS, *flags, f"-I{tmp_path}", *map(str, sources), "-lm"]
    subprocess.run([*command, "-o", str(program)], check=True, capture_output=True, text=True)
    done = run(program, *probe[1:], *models)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.system
def test_two_threads_pass_the_thread_sanitizer(built: Library, tmp_path: Path) -> None:
    program = tmp_path / "probe"
    sources = [HERE / "embed_probe.c", *c_side(built, tmp_path)]
    flags = ["-g", "-O1", "-fsanitize=thread", f"-I{tmp_path}"]
    command = ["gcc", *WARNINGS, *flags, *map(str, sources), "-lm", "-o", str(program)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    done = run("setarch", "-R", program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.system
@pytest.mark.parametrize("probe", [("random_packets.c", "600", "3", "8"), ("embed_probe.c",)])
def test_valgrind_finds_nothing(built: Library, probe: tuple[str, ...]) -> None:
    needs("valgrind")
    program = compiled(HERE / probe[0], built, "-g", "-DHAMMERED=60")
    checks = ("--error-exitcode=9", "--leak-check=full", "-q", "--fair-sched=yes")
    done = run("valgrind", *checks, program, *probe[1:])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.system
def test_the_library_needs_libc_and_libm_alone(built: Library) -> None:
    folder = built.library.parent
    names = {SHARED, SONAME, "libplc.so", "libplc.a", "plc.h", "plc.pc", PLUGIN, INSIDE}
    assert {path.name for path in built.files} == names
    assert {path.resolve() for path in folder.glob("libplc.so*")} == {built.library}
    needed = run("readelf", "-d", built.library).stdout
    assert f"Library soname: [{SONAME}]" in needed
    libraries = set(re.findall(r"Shared library: \[(.*?)\]", needed))
    assert libraries <= {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"}
    exported = run("nm", "-D", "--defined-only", "-j", built.library).stdout.split()
    declared = re.findall(r"^PLC_API [^;(]*?(\w+)\(", header(), re.MULTILINE)
    assert sorted(exported) == sorted(declared)
    run("ar", "x", folder / "libplc.a", "--output", folder)
    objects = list(folder.glob("step-*.o"))
    assert len(objects) == len(targets_of(machine()))
    for path in objects:
        assert set(undefined_symbols(path.read_bytes())) <= MATHEMATICS | MEMORY, path.name


@pytest.mark.system
def test_pkg_config_tells_the_flags(built: Library) -> None:
    needs("pkg-config")
    folder = built.library.parent
    environment = os.environ | {"PKG_CONFIG_PATH": str(folder)}
    told = ""
    for options in (["--modversion"], ["--cflags", "--libs"]):
        command = ["pkg-config", *options, "plc"]
        told += subprocess.check_output(command, env=environment, text=True)
    assert told.split() == [plc.__version__, f"-I{folder}", f"-L{folder}", "-lplc"]


@pytest.mark.system
def test_installed_it_is_found_by_pkg_config_and_cmake_and_plays_the_same(
    built: Library, recordings: Path, tmp_path: Path
) -> None:
    needs("pkg-config", "cmake", "make")
    app = typer.Typer()
    cli.register(app)
    first = tmp_path / "first"
    ran(app, "c", "build", "--prefix", str(first))
    prefix = first.rename(tmp_path / "installed")  # may be moved
    there = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if not path.is_dir()}
    assert there == {
        *(f"lib/{name}" for name in (SHARED, SONAME, "libplc.so", "libplc.a")),
        "include/plc.h",
        f"lib/ladspa/{PLUGIN}",
        f"lib/plc/{INSIDE}",
        f"bin/{WRAPPER}",
        "lib/pkgconfig/plc.pc",
        "lib/cmake/plc/plcConfig.cmake",
        "lib/cmake/plc/plcConfigVersion.cmake",
    }
    expected = conceal_all(compiled(EXAMPLE, built), recordings, "flat", cases=[0, 9])

    environment = os.environ | {"PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}
    told = subprocess.check_output(
        ["pkg-config", "--cflags", "--libs", "plc"], env=environment, text=True
    )
    by_pkg_config = tmp_path / "conceal"
    command = ["gcc", *WARNINGS, str(EXAMPLE), "-o", str(by_pkg_config), *told.split()]
    subprocess.run([*command, f"-Wl,-rpath,{prefix}/lib"], check=True)

    by_cmake = tmp_path / "cmake" / "conceal"
    assert (EXAMPLE.parent / "CMakeLists.txt").is_file()
    folders = ("-S", EXAMPLE.parent, "-B", by_cmake.parent)
    done = run("cmake", *folders, f"-DCMAKE_PREFIX_PATH={prefix}")
    assert done.returncode == 0, done.stderr
    assert run("cmake", "--build", by_cmake.parent).returncode == 0
    for suffix, program in (("pkg-config", by_pkg_config), ("cmake", by_cmake)):
        assert f"[{SONAME}]" in run("readelf", "-d", program).stdout
        heard = conceal_all(program, recordings, suffix, cases=[0, 9])
        for one, other in zip(heard, expected, strict=True):
            assert np.array_equal(one, other), suffix

    versions = prefix / "lib" / "cmake" / "plc" / "plcConfigVersion.cmake"
    major = int(plc.__version__.partition(".")[0])
    for wanted, fits in ((plc.__version__, "TRUE"), (f"{major + 1}.0", "FALSE")):
        script = tmp_path / "version.cmake"
        script.write_text(
            f"set(PACKAGE_FIND_VERSION {wanted})\n"
            f"set(PACKAGE_FIND_VERSION_MAJOR {wanted.partition('.')[0]})\n"
            f'include("{versions}")\nmessage(STATUS "${{PACKAGE_VERSION_COMPATIBLE}}")\n'
        )
        assert run("cmake", "-P", script).stdout.split()[-1] == fits


@pytest.mark.system
def test_the_example_says_what_it_cannot_do(built: Library, tmp_path: Path) -> None:
    program = compiled(EXAMPLE, built)
    (tmp_path / "in.wav").write_bytes(b"RIFF")
    (tmp_path / "lost").write_text("0 0 x")
    soundfile.write(tmp_path / "good.wav", np.zeros(1000), 8000, "PCM_16")
    soundfile.write(tmp_path / "slow.wav", np.zeros(1000), 4000, "PCM_16")
    soundfile.write(tmp_path / "bytes.wav", np.zeros(1000), 8000, "PCM_U8")
    refusals: list[tuple[str, int, str, list[str]]] = [
        ("in.wav", 1, "is no WAV file", ["--loss", "10%"]),
        ("none.wav", 1, "cannot be read", ["--loss", "10%"]),
        ("good.wav", 1, "is no trace", ["--trace", str(tmp_path / "lost")]),
        ("slow.wav", 1, "plc_open: options.sample_rate is out of range", ["--loss", "10%"]),
        ("good.wav", 2, "usage:", []),
        ("good.wav", 2, "usage:", ["--loss"]),
        ("good.wav", 2, "is out of range: 0 to 1", ["--loss", "2"]),
        ("good.wav", 1, "exists", ["--loss", "10%", "--write-trace", str(tmp_path / "lost")]),
        ("bytes.wav", 1, "is neither 16- or 24-bit", ["--loss", "10%"]),
    ]
    for name, status, says, options in refusals:
        done = run(program, tmp_path / name, tmp_path / "out.wav", *options)
        assert (done.returncode, says in done.stderr) == (status, True), done.stderr
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.system
def test_the_example_takes_the_usual_wav_files_and_writes_what_it_took(
    built: Library, tmp_path: Path
) -> None:
    program, rate = compiled(EXAMPLE, built), 16_000
    signal = np.stack([tones(k, rate, rate + 1) for k in range(3)], axis=1)
    signal[0] = -1.0, 1.0 - 2.0**-23, 2.0**-23
    source, heard = tmp_path / "in.wav", tmp_path / "out.wav"

    def played(subtype: str) -> np.ndarray:
        done = conceals(program, source, heard, "--loss", "20%")
        assert done.returncode == 0, done.stderr
        assert soundfile.info(heard).subtype == subtype
        return np.asarray(soundfile.read(heard)[0])

    for form in ("WAV", "WAVEX"):  # WAVE_FORMAT_EXTENSIBLE
        for subtype, bits in [("PCM_24", 24), ("PCM_16", 16)]:
            soundfile.write(source, signal, rate, subtype, format=form)
            found, sent = played(subtype), soundfile.read(source)[0]
            soundfile.write(source, sent, rate, "FLOAT", format=form)
            step = 2.0 ** (1 - bits)
            assert np.abs(found - played("FLOAT").clip(-1.0, 1.0 - step)).max() <= 0.51 * step
            assert np.mean(found == sent) > 0.5  # what came is bit for bit


@pytest.mark.system
@pytest.mark.parametrize("name", ["conceal.c", "receiver.c"])
def test_the_examples_are_plain_c99(built: Library, tmp_path: Path, name: str) -> None:
    flags = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"]
    source, made = str(EXAMPLE.with_name(name)), str(tmp_path / "program.o")
    include = f"-I{built.library.parent}"
    subprocess.run(["gcc", *flags, include, "-c", source, "-o", made], check=True)


@pytest.mark.system
@pytest.mark.realtime
def test_a_push_from_c_is_timed(built: Library) -> None:
    program = compiled(ROOT / "bench" / "plc_bench" / "robust" / "push_cost.c", built)
    report = json.loads(run(program, "200", "10", "64").stdout)
    assert report["concealed_us"]["packets"] == 19
    assert 0 < report["received_us"]["p50"] <= report["received_us"]["max"]


@pytest.mark.parametrize(("prefix", "parts"), [(False, ("", "")), (True, ("include", "lib"))])
def test_what_a_compiler_is_given_may_be_pasted_where_a_folder_has_blanks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: bool, parts: tuple[str, str]
) -> None:
    monkeypatch.setattr(library, "_make", lambda *_: [])
    folder = tmp_path / "a b"
    flags = build_library(folder, "x86_64", prefix=prefix).flags
    include, lib = (folder / part for part in parts)
    assert shlex.split(flags) == [f"-I{include}", f"-L{lib}", "-lplc", f"-Wl,-rpath,{lib}"]


@pytest.mark.system
def test_the_command_builds_and_says_how_to_compile(tmp_path: Path) -> None:
    needs("gcc", "wasm-ld")
    app = typer.Typer()
    cli.register(app)
    result = ran(app, "c", "build", "--out", str(tmp_path))
    assert f"cc program.c -I{tmp_path} -L{tmp_path} -lplc" in result.stdout
    assert "compiled the step for" in result.stderr
    assert (tmp_path / "plc.h").read_text() == header()
    result = CliRunner().invoke(app, ["c", "build", "--out", str(tmp_path), "--target", "wasm32"])
    assert result.stdout.split() == [str(tmp_path / "plc.wasm")]


@pytest.mark.system
def test_the_manuals_program_calls_the_library_without_its_header(built: Library) -> None:
    page = (ROOT / "docs" / "embedding.md").read_text()
    program = page.partition("```python\n")[2].partition("```")[0]
    found: dict[str, Any] = {}
    exec(program.replace("build/libplc.so", str(built.library)), found)
    assert (found["came"], found["lost"]) == (0, 1)
    assert found["packet"][0] == pytest.approx(0.1)
    assert 0.05 < np.abs(found["out"]).max() < 0.2


@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_known_behind_is_made_use_of_as_in_python(built: Library, channels: int) -> None:
    page = (ROOT / "docs" / "embedding.md").read_text()
    program = page.partition("```python\n")[2].partition("```")[0]
    found: dict[str, Any] = {}
    exec(program.replace("build/libplc.so", str(built.library)), found)
    library, options, stream = found["library"], found["Options"](), ctypes.c_void_p()
    library.plc_options_init_sized(ctypes.byref(options), ctypes.c_size_t(ctypes.sizeof(options)))
    options.sample_rate, options.channels, options.packet_samples = 16_000, channels, 160
    assert library.plc_open(ctypes.byref(stream), ctypes.byref(options)) == 0
    python = plc.Concealer(16_000, channels, 160, model="ar", budget_ms=math.inf)
    signal = np.stack([tones(c, 16_000, 64_000) for c in range(channels)], 1)
    packets = signal.reshape(-1, 160, channels)
    trace = GilbertElliott(0.2, 2.0).trace(400, 1)
    out = np.zeros((160, channels), np.float32)
    made = ctypes.c_void_p(out.ctypes.data)

    def know(samples: NDArray[np.float32], distance: int) -> int:
        code: int = library.plc_know(
            stream,
            ctypes.c_void_p(samples.ctypes.data),
            ctypes.c_size_t(len(samples)),
            ctypes.c_int64(distance),
        )
        return code

    for k in range(396):
        behind = []
        if trace[k]:
            behind = [(160 * (j - k - 1), packets[j]) for j in range(k + 1, k + 5) if not trace[j]]
        for distance, samples in behind:
            assert know(samples, distance) == 0
        packet = None if trace[k] else ctypes.c_void_p(packets[k].ctypes.data)
        assert library.plc_push(stream, packet, made) >= 0
        expected = python.push(None if trace[k] else packets[k], behind=behind or None)
        np.testing.assert_allclose(out, expected, atol=TOLERANCE)
    assert python.stats.bridged_samples > 0.5 * python.stats.concealed_samples
    # It stays known until its turn, unless a later call forgets it.
    for keeps in (True, False):
        before = python.stats.bridged_samples
        for k in range(4):
            if k == 3:
                assert know(packets[5], 160) == 0
            assert library.plc_push(stream, ctypes.c_void_p(packets[k].ctypes.data), made) >= 0
            python.push(packets[k], behind=[(160, packets[5])] if k == 3 else None)
        if not keeps:
            assert know(packets[:0].reshape(-1, channels), 0) == 0
        assert library.plc_push(stream, None, made) >= 0
        expected = python.push(None, behind=None if keeps else [])
        np.testing.assert_allclose(out, expected, atol=TOLERANCE)
        assert python.stats.bridged_samples == before + 160 * keeps
    # What is not sound, and a distance that is none, change nothing.
    assert know(np.full((160, channels), np.nan, np.float32), 0) < 0
    assert know(packets[0], -1) < 0
    assert know(packets[0], 16_001) < 0
    library.plc_close(stream)


def test_the_header_agrees_with_the_engine(tmp_path: Path) -> None:
    text = header()
    assert f"{len(STEADY_MS) - 1}: the cheapest" in text
    counted = set(layout.COUNTERS) - {"deadline_misses", "rung_changes"}
    counted |= {"network_samples", "detected_dropouts"}  # a rung's samples; and C's own
    struct = re.search(r"typedef struct plc_counters \{(.*?)\}", text, re.DOTALL)
    assert struct is not None
    assert set(re.findall(r"uint64_t (\w+);", struct[1])) == counted
    source = library.SOURCE.read_text()
    assert f"#define SETTINGS {entry.SETTINGS}\n" in source
    assert f"#define MOST_CHANNELS {layout.MAX_CHANNELS}u\n" in source
    write_sources(tmp_path, targets_of("x86_64"))
    written = (tmp_path / "step.h").read_text()
    source += library.MATHEMATICS_SOURCE.read_text()
    assert set(re.findall(r"PLCK_\w+", source)) == set(re.findall(r"PLCK_\w+", written))


def test_the_header_has_the_version_and_exports_on_every_system(tmp_path: Path) -> None:
    needs("gcc")
    path = tmp_path / "plc.h"
    path.write_text(header())
    assert "@" not in header()
    assert header().startswith("/* SPDX-License-Identifier: MIT */\n")
    sources = (library.SOURCE, library.PLUGIN_SOURCE, library.INSIDE_SOURCE)
    for source in (*sources, library.MATHEMATICS_SOURCE):
        assert source.read_text().startswith("/* SPDX-License-Identifier: MIT */\n")
    major, minor, patch = plc.__version__.split(".")
    for line in (
        f"_MAJOR {major}\n",
        f"_MINOR {minor}\n",
        f"_PATCH {patch}\n",
        f' "{plc.__version__}"\n',
    ):
        assert f"#define PLC_VERSION{line}" in header()
    exports = {
        "": '__attribute__((visibility("default")))',
        "-DPLC_STATIC": "",
        "-D_WIN32": "__declspec(dllimport)",
        "-D_WIN32 -DPLC_BUILD": "__declspec(dllexport)",
        "-D_WIN32 -DPLC_STATIC": "",
    }
    for flags, before in exports.items():
        seen = run("gcc", "-E", "-P", "-xc", *flags.split(), path).stdout
        declared = f"{before} const char *plc_version(void);".strip()
        assert declared in map(str.strip, seen.splitlines()), flags


@pytest.mark.parametrize("options", [[], ["--out", "a", "--prefix", "b"]])
def test_the_command_takes_one_folder(options: list[str]) -> None:
    app = typer.Typer()
    cli.register(app)
    result = ran(app, "c", "build", *options, status=2)
    assert "--out" in result.output
    assert "--prefix" in result.output


def test_an_unknown_target_and_a_folder_that_cannot_be_written_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ConfigError, match="target is 'pdp11'; known: host, x86_64, aarch64, windows, musl, wasm32"
    ):
        build_library(tmp_path, "pdp11")
    with pytest.raises(ConfigError, match="one file for a page; it is not installed"):
        build_library(tmp_path, "wasm32", prefix=True)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write to"):
        build_library(tmp_path / "file", "x86_64")
    monkeypatch.setattr("plc.embed.library.machine", lambda: "riscv64")
    with pytest.raises(ConfigError, match="this machine is riscv64"):
        build_library(tmp_path)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ConfigError, match="on Linux, and this is win32; give x86_64, aarch64"):
        build_library(tmp_path)
