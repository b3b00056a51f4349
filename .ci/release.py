"""Make a release, and check it: ``python .ci/release.py --out dist``.

It builds the source archive and from it the wheel, adds machine code and ``libplc`` to a second
wheel (``machine_code.py``), puts the networks of papers into one of their own, checks what is in
all, and runs the second, and the tests with it, in a new environment with empty caches. Of that
come ``libplc`` as an archive and Debian packages, the package for npm (``release_files.py``), a
wheel for aarch64, ``libplc`` for Windows and musl, and ``SHA256SUMS``. ``--pure`` leaves the second
wheel and these out, which take minutes of compiling, and runs no tests.
The version stands in ``plc/__init__.py``. It needs the packages auditwheel, build and wheel.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import runpy
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from plc.engine.models.catalogue import PAPERS

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "plc": "plc",
    "kernels/plc_kernels": "plc_kernels",
    "bench/plc_bench": "plc_bench",
    "training/plc_training": "plc_training",
}
"""Folder here: folder in a wheel."""

LICENCES = ("LICENSE", "plc/data/LICENCE.md")
_LICENCE = "MIT AND CC-BY-SA-3.0"
# Text, under the licence of the program; of all else a licence is named.
_TEXT = {
    ".c",
    ".cc",
    ".css",
    ".html",
    ".in",
    ".js",
    ".json",
    ".md",
    ".mjs",
    ".mts",
    ".py",
    ".toml",
    ".typed",
}
_SOUND = {".aac", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"}
_CLIPS = {f"plc/data/{clip}.flac" for clip in ("clarinet", "music", "speech")}
_MODELS = "plc/data/models/"
PAPER_FILES = tuple(f"{_MODELS}{name}{end}" for name in PAPERS for end in (".json", ".onnx"))
"""What has a wheel of its own."""
_MAKER = Path(__file__).with_name("machine_code.py")
# What `machine_code.py` adds, and setuptools to a source archive.
_LIBRARY = (r"libplc\.so\.[\d.]+", r"libplc\.a", r"plc\.h", r"plc_ladspa\.so", r"libplc_inside\.so")
_COMPILED = re.compile(
    rf"plc_kernels/machine_code/kernels\.abi3\.so|plc/embed/libplc/({'|'.join(_LIBRARY)})"
)
_BY_SETUPTOOLS = re.compile(r"PKG-INFO|setup\.cfg|plc_engine\.egg-info/[\w-]+(\.txt)?")
FIRST_SOUND_S = 1.5
_CONSTRAINTS = ROOT / "constraints.txt"
_INSTALL = ("-m", "pip", "install", "-q", "--no-compile", "-c", _CONSTRAINTS)


def version() -> str:
    """Return the version, from its one place."""
    found = re.search(r'^__version__ = "(.+)"$', (ROOT / "plc/__init__.py").read_text(), re.M)
    assert found is not None
    return found[1]


def day() -> datetime | None:
    """Return the day of the version, if ``CHANGELOG.md`` has it below the version's line."""
    text = (ROOT / "CHANGELOG.md").read_text()
    found = re.search(rf"^## {re.escape(version())}\n\n(\d+-\d+-\d+)\.", text, re.M)
    return found and datetime.fromisoformat(found[1]).replace(tzinfo=UTC)


def tracked() -> list[str]:
    """Return the files that belong to the project."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    told = subprocess.check_output(command, cwd=ROOT, text=True)
    return [name for name in told.splitlines() if (ROOT / name).is_file()]


def problems_of_papers() -> list[str]:
    """Return where the papers that name the version name another one."""
    expected = {
        "CITATION.cff": f"\nversion: {version()}\n",
        "CHANGELOG.md": f"\n## {version()}\n",
    }
    found = [
        f"{name} has no line {line.strip()!r}"
        for name, line in expected.items()
        if line not in (ROOT / name).read_text()
    ]
    return found if day() else [*found, f"CHANGELOG.md does not begin {version()} with its day"]


def problems_of_wheel(path: Path, compiled: bool = False) -> list[str]:
    """Return what is wrong with a wheel, in words; nothing is good.

    Parameters
    ----------
    path : path
        The wheel.
    compiled : bool
        Whether it has machine code and ``libplc``.
    """
    with zipfile.ZipFile(path) as archive:
        broken = archive.testzip()
        if broken:
            return [f"{broken} is broken"]
        # auditwheel names folders, too.
        names = [name for name in archive.namelist() if not name.endswith("/")]
        files = {name: archive.read(name) for name in names}
    about = f"plc_engine-{version()}.dist-info"
    code = {name for name in files if not name.startswith(f"{about}/")}
    expected = {
        there + name.removeprefix(here)
        for name in tracked()
        for here, there in PACKAGES.items()
        if name.startswith(f"{here}/") and name not in PAPER_FILES
    }
    added = {name for name in code if _COMPILED.fullmatch(name)}
    found = [f"{name} is missing" for name in sorted(expected - code)]
    found += [f"{name} does not belong in a wheel" for name in sorted(code - expected - added)]
    if compiled:
        for what in (r"kernels\.abi3\.so", *_LIBRARY):
            if not any(re.fullmatch(f".*/{what}", name) for name in added):
                found.append(f"there is no {what}")
        wheel = files.get(f"{about}/WHEEL", b"").decode().lower()
        if not re.search(r"^root-is-purelib: false$", wheel, re.M) or "-manylinux_" not in wheel:
            found.append("WHEEL names no platform that indexes take")
    elif added:
        found.append(f"{min(added)} does not belong in a wheel for every machine")
    found += _problems_of_data({name: files[name] for name in code - added})
    metadata = files.get(f"{about}/METADATA", b"").decode()
    lines = [f"Version: {version()}", f"License-Expression: {_LICENCE}"]
    lines += [f"License-File: {name}" for name in LICENCES]
    found += [f"METADATA has no line {line!r}" for line in lines if f"\n{line}\n" not in metadata]
    for name in LICENCES:
        if files.get(f"{about}/licenses/{name}") != (ROOT / name).read_bytes():
            found.append(f"the licence {name} is missing, or another")
    return found


def problems_of_sources(path: Path) -> list[str]:
    """Return what is wrong with a source archive, in words; nothing is good."""
    with tarfile.open(path) as archive:
        top = f"plc_engine-{version()}/"
        files = {
            member.name.removeprefix(top): archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive
            if member.isfile()
        }
    known = tracked()
    # Tests belong to sources, as who packages them runs them; recordings do not.
    needed = {name for name in known if name.startswith((*PACKAGES, "tests/", "examples/"))}
    needed |= {*LICENCES, "pyproject.toml", "README.md", "CHANGELOG.md", "constraints.txt"}
    found = [f"{name} is missing" for name in sorted(needed - set(files))]
    foreign = [name for name in files if not _BY_SETUPTOOLS.fullmatch(name)]
    found += [f"{name} does not belong here" for name in sorted(set(foreign) - set(known))]
    return found + _problems_of_data(files)


def _problems_of_data(files: dict[str, bytes]) -> list[str]:
    """Return what is wrong with recordings, weights and tables, and their licences."""
    found = []
    recordings = {name for name in files if Path(name).suffix.lower() in _SOUND}
    found += [f"{name} is a recording" for name in sorted(recordings - _CLIPS)]
    licence = files.get("plc/data/LICENCE.md", b"").decode()
    headings = " ".join(re.findall(r"^## (.*)$", licence, re.M))
    for name in sorted(files):
        path = Path(name)
        if name.startswith(_MODELS):
            if path.suffix == ".json":
                found += _problems_of_model(name, files)
            elif path.with_suffix(".json").as_posix() not in files:
                found.append(f"{name} has no manifest")
        elif name.startswith("plc/") and path.suffix not in _TEXT and path.name not in headings:
            found.append(f"{name}: plc/data/LICENCE.md does not name its licence")
    return found


def _problems_of_model(name: str, files: dict[str, bytes]) -> list[str]:
    manifest = json.loads(files[name])
    weights = files.get(name.removesuffix(".json") + ".onnx")
    found = [] if manifest.get("licence") else [f"{name} names no licence"]
    if weights is None:
        return [*found, f"{name}: its weights are missing"]
    if hashlib.sha256(weights).hexdigest() != manifest["sha256"]:
        found.append(f"{name}: its weights are not those that it states")
    return found


def wheel_of_papers(folder: Path) -> Path:
    """Make a wheel of the networks of papers, which go beside those of the package."""
    from wheel.wheelfile import WheelFile

    name = f"plc_engine_papers-{version()}"
    texts = {
        "METADATA": f"Metadata-Version: 2.1\nName: plc-engine-papers\nVersion: {version()}\n"
        "Summary: Networks of papers, for plc-engine\nLicense: MIT\n"
        f"Requires-Dist: plc-engine=={version()}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: plc\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"{name}-py3-none-any.whl"
    with WheelFile(path, "w") as archive:
        for file in PAPER_FILES:
            archive.write(ROOT / file, file)
        for text, lines in texts.items():
            archive.writestr(f"{name}.dist-info/{text}", lines)
    return path


def further_files(work: Path) -> list[Path]:
    """Return what is not for Python, of what :func:`problems_of_installation` installed."""
    made = runpy.run_path(str(Path(__file__).with_name("release_files.py")))
    home, out, plc = work / "home", work / "further", work / "environment" / "bin" / "plc"
    _run(plc, "c", "build", "--prefix", "prefix", cwd=home, env=_alone(home) | {"CC": "false"})
    if shutil.which("gst-inspect-1.0") and shutil.which("pkg-config"):
        plugins = "prefix/lib/gstreamer-1.0"
        _run(plc, "gstreamer", "install", "--dir", plugins, cwd=home, env=_alone(home))
    else:
        print("GStreamer's plugin is not made: gst-inspect-1.0 and pkg-config are needed")
    _run(plc, "c", "models", "--out", "models", cwd=home, env=_alone(home))
    shutil.copy(home / "models/all.plcm", home / "prefix/lib/plc/plc.plcm")
    _run(plc, "web", "--export", "page", cwd=home, env=_alone(home))
    out.mkdir()
    prefix, licence = home / "prefix", ROOT / "LICENSE"
    files = [
        made["pack_library"](prefix, licence, out, version()),
        made["pack_npm"](home / "page", licence, out),
    ]
    if shutil.which("dpkg-deb"):
        files += made["pack_debian"](prefix, licence, out, version(), day())
    return files


def libraries_of_systems(work: Path) -> list[Path]:
    """Return archives of the library for Windows and musl, where their compilers are installed."""
    made = runpy.run_path(str(Path(__file__).with_name("release_files.py")))
    files = []
    for target, compiler, system in (
        ("windows", "x86_64-w64-mingw32-gcc", "windows-x86_64"),
        ("musl", "musl-gcc", "linux-musl-x86_64"),
    ):
        if not shutil.which(compiler):
            print(f"there is no library for {target}: {compiler} is needed")
            continue
        prefix = work / target
        _run(sys.executable, "-m", "plc", "c", "build", "--prefix", prefix, "--target", target)
        if target == "windows":  # parts of mingw-w64 are in the DLL
            about = Path("/usr/share/doc/mingw-w64-common/copyright")
            shutil.copy(about, prefix / "LICENSE.mingw-w64")
        files.append(made["pack_library"](prefix, ROOT / "LICENSE", work, version(), system))
    return files


def wheels_for_aarch64(plain: Path, work: Path) -> list[Path]:
    """Return the wheel with machine code for aarch64; none where nothing links it."""
    if not shutil.which("aarch64-linux-gnu-gcc"):
        print("there is no wheel for aarch64: gcc-aarch64-linux-gnu is needed")
        return []
    _run(sys.executable, _MAKER, plain, "--out", work / "aarch64", "--level", "aarch64")
    return list((work / "aarch64").glob("*.whl"))


def problems_of_debian(files: list[Path], work: Path) -> list[str]:
    """Compile a program with what Debian's packages install, run it, and return what is wrong."""
    packages = [path for path in files if path.suffix == ".deb"]
    root = work / "debian"
    for path in packages:
        _run("dpkg-deb", "--extract", path, root)
    if packages and shutil.which("lintian"):
        print(_run("lintian", "--fail-on", "error", *packages))
    if not packages or not (shutil.which("pkg-config") and shutil.which("cc")):
        print("Debian's packages are not tried: dpkg-deb, pkg-config and a compiler are needed")
        return []
    lib = root / "usr/lib/x86_64-linux-gnu"
    program = root / "program.c"
    program.write_text(
        "#include <plc.h>\n#include <stdio.h>\nint main(void) { puts(plc_version()); return 0; }\n"
    )
    asked = os.environ | {"PKG_CONFIG_PATH": str(lib / "pkgconfig")}
    flags = _run("pkg-config", "--cflags", "--libs", "plc", env=asked).split()
    _run("cc", program, *flags, "-o", root / "program")
    told = _run(root / "program", env=os.environ | {"LD_LIBRARY_PATH": str(lib)}).strip()
    return [] if told == version() else [f"a program with Debian's library says {told!r}"]


def _alone(home: Path) -> dict[str, str]:
    """Return an environment with nothing of this machine's caches or settings."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "MPLBACKEND": "Agg"}


def problems_of_installation(wheel: Path, papers: Path, work: Path, compiled: bool) -> list[str]:
    """Install a wheel into a new environment, run it, and return what is wrong."""
    python = work / "environment" / "bin" / "python"
    home = work / "home"
    home.mkdir()
    # PYTHONPATH would show pip this checkout as installed.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    _run(sys.executable, "-m", "venv", work / "environment", env=clean)
    _run(python, *_INSTALL, f"{wheel}[cpu]", cwd=home, env=clean)
    _run(python, "-m", "pip", "check", cwd=home, env=clean)
    environment = _alone(home)
    plc = work / "environment" / "bin" / "plc"
    found = []
    told = _run(plc, "--version", cwd=home, env=environment)
    if told.split() != ["plc", version()]:
        found.append(f"plc --version says {told!r}")
    where = "import plc, pathlib; print(pathlib.Path(plc.__file__).parent / 'data/speech.flac')"
    clip = _run(python, "-c", where, cwd=home, env=environment).strip()
    if not compiled:
        _lend_kernels(Path(clip).parents[2] / "plc_kernels")
    began = time.perf_counter(), _processor_s()
    _run(plc, "conceal", clip, "heard.wav", "--loss", "10%", cwd=home, env=environment)
    took = time.perf_counter() - began[0], _processor_s() - began[1]
    print(
        f"first start to a recording concealed: {took[0]:.1f} s, {took[1]:.1f} s of processor time"
    )
    # Of both the lesser, so that other programs on the machine do not count.
    if compiled and min(took) > FIRST_SOUND_S:
        found.append(f"the first start took {min(took):.1f} s; the limit is {FIRST_SOUND_S:g} s")
    numba = subprocess.run([python, "-c", "import numba"], capture_output=True, check=False)
    if compiled and not numba.returncode:
        found.append("the wheel with machine code brings numba")
    for command in (["demo", "--out", "demo"], ["doctor"], ["models", "--papers", papers]):
        print(told := _run(plc, *command, cwd=home, env=environment))
    found += [f"plc models has no {name}" for name in PAPERS if name not in told]
    return found


def _lend_kernels(package: Path) -> None:
    """Give an installed package what numba compiled of this checkout, which takes minutes.

    numba knows sources by their digest, and caches by the folder of the sources.
    """
    kept = Path(os.environ.get("NUMBA_CACHE_DIR", os.devnull))
    for folder in (path.parent for path in package.rglob("__init__.py")):
        source = ROOT / "kernels" / package.name / folder.relative_to(package)
        cache = kept / f"{source.name}_{hashlib.sha1(str(source).encode()).hexdigest()}"
        if cache.is_dir():
            shutil.copytree(cache, folder / "__pycache__", dirs_exist_ok=True)


def problems_of_bare_system(wheel: Path, work: Path) -> list[str]:
    """Install a wheel into Debian without compilers, run it, and return what is wrong."""
    if not shutil.which("debootstrap") or os.geteuid():
        print("the wheel is not tried in a bare system: debootstrap, and to be root, are needed")
        return []
    root, wheels = work / "bare", work / "bare" / "wheels"
    _run("debootstrap", "--variant=minbase", "--include=python3-venv", "bookworm", root)
    download = ("-m", "pip", "download", "-q", "-c", _CONSTRAINTS, "-d", wheels, wheel)
    _run(work / "environment" / "bin" / "python", *download)
    inside = ("chroot", root, "/usr/bin/env", "-i", "PATH=/env/bin:/usr/bin:/bin", "HOME=/root")
    _run(*inside, "python3", "-m", "venv", "/env")
    _run(*inside, "pip", "install", "-q", "--no-index", "--find-links", "/wheels", "plc-engine")
    clip = next((root / "env/lib").glob("python3*/site-packages/plc/data/speech.flac"))
    began = time.perf_counter()
    _run(*inside, "plc", "conceal", f"/{clip.relative_to(root)}", "/heard.wav", "--loss", "10%")
    print(f"in a bare system a recording is concealed in {time.perf_counter() - began:.1f} s")
    compilers = [
        name for name in ("cc", "gcc", "clang", "ld") if (root / "usr/bin" / name).exists()
    ]
    return [f"the bare system has {', '.join(compilers)}"] if compilers else []


def run_tests(wheel: Path, papers: Path, work: Path) -> None:
    """Run tests with the installed wheel and papers' networks, away from this checkout."""
    python, suite = work / "environment" / "bin" / "python", work / "suite"
    for name in tracked():  # all but the packages, and what imports would take for them
        if name.split("/")[0] not in ("plc", "kernels", "bench", "training"):
            (suite / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, suite / name)
    settings = (ROOT / "pyproject.toml").read_text()
    settings = re.sub(r"^pythonpath = .*$", 'pythonpath = ["."]', settings, flags=re.M)
    (suite / "pyproject.toml").write_text(settings)
    _run(python, *_INSTALL, f"{wheel}[test]", papers, cwd=suite)
    asked = ("-m", "pytest", "-q", "tests/plc")
    print(_run(python, *asked, cwd=suite, env=_alone(work / "home")))


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    print("$", *command, flush=True)
    done = subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}\nerror: status {done.returncode}")
    return done.stdout


def main() -> int:
    """Make and check; return the status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    parser.add_argument("--pure", action="store_true", help="no wheel with machine code")
    given = parser.parse_args()
    out = given.out.resolve()
    found = problems_of_papers()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _run(sys.executable, "-m", "build", "--outdir", work / "plain", ROOT)
        (sources,) = (work / "plain").glob("*.tar.gz")
        (plain,) = (work / "plain").glob("*.whl")
        files = [sources, plain]
        papers = wheel_of_papers(work)
        data = {name: (ROOT / name).read_bytes() for name in PAPER_FILES}
        found += [f"{papers.name}: {each}" for each in _problems_of_data(data)]
        found += [f"{sources.name}: {each}" for each in problems_of_sources(sources)]
        found += [f"{plain.name}: {each}" for each in problems_of_wheel(plain)]
        if not given.pure and not found:
            _run(sys.executable, _MAKER, plain, "--out", work / "compiled")
            files += (work / "compiled").glob("*.whl")
            found += [f"{files[-1].name}: {each}" for each in problems_of_wheel(files[-1], True)]
        if not found:
            found += problems_of_installation(files[-1], papers, work, not given.pure)
        if not given.pure and not found:
            run_tests(files[-1], papers, work)
            found += problems_of_bare_system(files[-1], work)
            further = further_files(work)
            found += problems_of_debian(further, work)
            for wheel in wheels_for_aarch64(plain, work):
                found += [f"{wheel.name}: {each}" for each in problems_of_wheel(wheel, True)]
                further.append(wheel)
            files += further + libraries_of_systems(work)
        files.append(papers)
        for problem in found:
            print(f"error: {problem}", file=sys.stderr)
        if found:
            return 1
        out.mkdir(parents=True, exist_ok=True)
        sums = []
        for path in files:
            (out / path.name).write_bytes(path.read_bytes())
            sums.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
        (out / "SHA256SUMS").write_text("".join(sums))
        print("".join(sums), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
