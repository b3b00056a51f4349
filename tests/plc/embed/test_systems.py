"""libplc for musl and Windows: what Linux' library plays, bit for bit; Windows' run by Wine."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from plc.embed import cli
from plc.embed.library import MATHEMATICS_SOURCE, Library, build_library, write_sources
from plc.embed.models import write_models
from plc.embed.packaging import DLL, IMPORTS, header
from plc.embed.toolchain import MUSL
from plc_kernels.build.targets import WINDOWS, machine, targets_of
from tests.options import ran
from tests.plc.embed.c_side import EXAMPLE, WARNINGS, compiled, conceals, recording, run
from tests.plc.embed.test_library import can_be, needs, on_x86
from tests.plc.embed.test_receiver import receives_rtp

HERE = Path(__file__).parent
pytestmark = [pytest.mark.system, on_x86]
MINGW = "x86_64-w64-mingw32-gcc"
STATIC = ("-DPLC_STATIC", "-static")
# Recording, sample rate, format, samples of a packet, packets of lookahead, type of processor.
PLAYED = [
    ("speech", 16_000, "PCM_16", 320, 0, "v3"),
    ("music", 48_000, "FLOAT", 480, 0, "v3"),
    ("clarinet", 48_000, "PCM_16", 960, 1, "v3"),
]
MORE = [
    *(("speech", 8_000, "FLOAT", 160, k, "v3") for k in (0, 1)),
    *(("speech", rate, "FLOAT", rate // 50, 0, "v2") for rate in (16_000, 48_000)),
    *(("music", 48_000, "FLOAT", 960, 1, level) for level in ("v2", "v4")),
    ("speech", 48_000, "FLOAT", 960, 2, "v4"),
    ("clarinet", 16_000, "FLOAT", 160, 0, "v3"),
    ("music", 24_000, "PCM_16", 240, 0, "v4"),
]
SOME = [False, pytest.param(True, marks=pytest.mark.deep)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def musl(tmp_path_factory: pytest.TempPathFactory) -> Library:
    needs("gcc", "musl-gcc")
    return build_library(tmp_path_factory.mktemp("musl"), MUSL)


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Library:
    needs("gcc", MINGW)
    return build_library(tmp_path_factory.mktemp("windows"), WINDOWS)


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """Return Wine's program, and the variables that it needs."""
    program = shutil.which("wine64") or shutil.which("wine", path="/usr/lib/wine")
    program = program or shutil.which("wine64", path="/usr/lib/wine")
    if program is None:
        pytest.skip("wine64 is not installed")
    home = str(tmp_path_factory.mktemp("wine"))
    variables = {"WINEPREFIX": home, "WINEDEBUG": "-all", "HOME": home}
    yield program, variables
    server = Path(program).with_name("wineserver")
    if server.exists():
        run(server, "-k", **variables)


def plays_the_same(
    here: Path, there: list[str | Path], models: Path, folder: Path, more: bool, **variables: str
) -> None:
    for k, (name, rate, subtype, packet, lookahead, level) in enumerate(MORE if more else PLAYED):
        if not can_be(level):
            continue
        source, trace = folder / f"{k}.wav", folder / f"{k}.lost"
        soundfile.write(source, recording(name, rate), rate, subtype)
        options: list[str | Path] = ["--packet", str(packet), "--lookahead", str(lookahead)]
        options += ["--processor", level, "--models", models, "--prepare", str(k % 2)]
        losses: list[str | Path] = ["--loss", "20%", "--burst", "2", "--write-trace", trace]
        expected = conceals(here, source, folder / f"{k}-here.wav", *losses, *options)
        assert expected.returncode == 0, expected.stderr
        assert "\n0 of them with a network" not in expected.stdout
        done = conceals(
            *there, source, folder / f"{k}-there.wav", "--trace", trace, *options, **variables
        )
        assert (done.returncode, done.stdout.replace("\r", "")) == (0, expected.stdout), done.stderr
        made = [(folder / f"{k}-{where}.wav").read_bytes() for where in ("here", "there")]
        assert made[0] == made[1], (name, rate, subtype, packet, lookahead, level)


@pytest.mark.parametrize("step", ["997", pytest.param("1", marks=pytest.mark.deep)])
def test_the_librarys_own_functions_answer_as_glibcs(tmp_path: Path, step: str) -> None:
    write_sources(tmp_path, targets_of(machine()))
    sources = [str(MATHEMATICS_SOURCE), str(HERE / "math_probe.c")]
    program = tmp_path / "probe"
    command = ["gcc", "-O2", *WARNINGS, "-fno-builtin", f"-I{tmp_path}", *sources, "-lm"]
    subprocess.run([*command, "-o", str(program)], check=True)
    others = [int(each) for each in run(program, step).stdout.split()]
    assert others[0] <= 2  # where glibc joins a product and a sum in one instruction
    assert others[1:] == [0, 0]


@pytest.mark.parametrize("more", SOME)
def test_musl_plays_the_same_static_and_shared(
    built: Library, musl: Library, models: list[Path], tmp_path: Path, more: bool
) -> None:
    here = compiled(EXAMPLE, built)
    static = compiled(EXAMPLE, musl, "-static", compiler="musl-gcc")
    assert "statically linked" in run("file", static).stdout or not shutil.which("file")
    plays_the_same(here, [static], models[-1], tmp_path, more)
    shared = tmp_path / "shared"
    flags = [f"-I{musl.library.parent}", f"-L{musl.library.parent}", "-lplc"]
    flags += [f"-Wl,-rpath,{musl.library.parent}"]
    subprocess.run(["musl-gcc", str(EXAMPLE), *flags, "-o", str(shared)], check=True)
    plays_the_same(here, [shared], models[-1], tmp_path, more)


def test_musl_needs_its_libc_alone_and_holds_what_c_is_promised(
    musl: Library, models: list[Path]
) -> None:
    needed = run("readelf", "-d", musl.library).stdout
    assert needed.count("Shared library:") == 1
    assert "Shared library: [libc.so]" in needed
    probe = compiled(HERE / "embed_probe.c", musl, "-static", compiler="musl-gcc")
    done = run(probe)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("more", SOME)
def test_windows_plays_the_same(
    built: Library,
    windows: Library,
    wine: tuple[str, dict[str, str]],
    models: list[Path],
    tmp_path: Path,
    more: bool,
) -> None:
    program, variables = wine
    there = compiled(EXAMPLE, windows, *STATIC, compiler=MINGW)
    plays_the_same(
        compiled(EXAMPLE, built), [program, there], models[-1], tmp_path, more, **variables
    )


@pytest.mark.parametrize(
    "probe",
    [
        ("embed_probe.c",),
        ("random_packets.c", "3000", "2"),
        ("random_models.c", "100", "6"),
        pytest.param(("random_packets.c", "100000", "2"), marks=pytest.mark.deep),
        pytest.param(("random_models.c", "20000", "6"), marks=pytest.mark.deep),
    ],
)
def test_windows_holds_what_c_is_promised(
    windows: Library, wine: tuple[str, dict[str, str]], models: list[Path], probe: tuple[str, ...]
) -> None:
    """Misuse, NaN, threads; random packets; hostile models."""
    program, variables = wine
    there = compiled(HERE / probe[0], windows, *STATIC, compiler=MINGW)
    given = models if "models" in probe[0] else []
    done = run(program, there, *probe[1:], *given, **variables)
    # Processes of Wine's own may tell there how they are.
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize(("codec", "rate"), [("l16", 16_000), ("pcmu", 8_000)])
def test_the_example_is_a_receiver_on_windows(
    windows: Library, wine: tuple[str, dict[str, str]], tmp_path: Path, codec: str, rate: int
) -> None:
    program, variables = wine
    source = EXAMPLE.with_name("receiver.c")
    there = compiled(source, windows, *STATIC, "-lws2_32", compiler=MINGW)
    receives_rtp([program, there], tmp_path, codec, rate, **variables)


def test_an_installed_dll_is_found_by_cmake_and_plays_the_same(
    built: Library, wine: tuple[str, dict[str, str]], models: list[Path], tmp_path: Path
) -> None:
    needs("cmake", "make", MINGW)
    program, variables = wine
    prefix = tmp_path / "prefix"
    result = ran(cli.c, "build", "--prefix", str(prefix), "--target", "windows")
    assert f"{MINGW} program.c -I{prefix}/include -L{prefix}/lib -lplc\n" in result.stdout
    there = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if not path.is_dir()}
    assert there == {
        *(f"bin/{DLL}", f"lib/{IMPORTS}", "lib/libplc.a", "include/plc.h", "lib/pkgconfig/plc.pc"),
        *(f"lib/cmake/plc/plcConfig{end}.cmake" for end in ("", "Version")),
    }
    told = run("x86_64-w64-mingw32-objdump", "-p", prefix / "bin" / DLL).stdout
    exported = told.partition("[Ordinal/Name Pointer] Table")[2].split()
    imported = told.partition("[Ordinal/Name Pointer] Table")[0]
    declared = [each.split("(")[0].split()[-1].lstrip("*") for each in declarations()]
    assert {each for each in exported if each.startswith("plc_")} == set(declared)
    assert "plck_" not in " ".join(exported)
    assert {line.split()[-1] for line in imported.splitlines() if "DLL Name" in line} == {
        *("KERNEL32.dll", "msvcrt.dll"),
    }
    assert not [name for name in ("log10", "expf", "sin", "exp", "pow") if f" {name}\n" in imported]

    cmake = tmp_path / "cmake"
    folders = ("-S", EXAMPLE.parent, "-B", cmake, f"-DCMAKE_PREFIX_PATH={prefix}")
    found = ("-DCMAKE_SYSTEM_NAME=Windows", f"-DCMAKE_C_COMPILER={MINGW}")
    done = run("cmake", *folders, *found)
    assert done.returncode == 0, done.stderr
    done = run("cmake", "--build", cmake)
    assert done.returncode == 0, done.stderr
    shutil.copy(prefix / "bin" / DLL, cmake)
    for each in ("conceal", "receiver"):
        assert (cmake / f"{each}.exe").is_file()
    plays_the_same(
        compiled(EXAMPLE, built),
        [program, cmake / "conceal.exe"],
        models[-1],
        tmp_path,
        False,
        **variables,
    )


def declarations() -> list[str]:
    return [line for line in header().splitlines() if line.startswith("PLC_API ")]
