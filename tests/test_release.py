"""The checks of ``.ci/release.py``, on wheels and source archives that are broken."""

import fnmatch
import io
import json
import platform
import re
import runpy
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plc.embed.library import BUILT

ROOT = Path(__file__).parents[1]
if not (ROOT / ".git").exists():
    pytest.skip("compares with what git knows", allow_module_level=True)

Files = dict[str, bytes]
ABOUT = "plc_engine-VERSION.dist-info"
WEIGHTS = "plc/data/models/speech.onnx"


@pytest.fixture(scope="module")
def release() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / ".ci" / "release.py"))


@pytest.fixture(scope="module")
def good(release: dict[str, Any]) -> Files:
    """Return what a wheel has."""
    files = {
        there + name.removeprefix(here): (ROOT / name).read_bytes()
        for name in release["tracked"]()
        for here, there in release["PACKAGES"].items()
        if name.startswith(f"{here}/") and name not in release["PAPER_FILES"]
    }
    about = ABOUT.replace("VERSION", release["version"]())
    lines = ["Metadata-Version: 2.4", f"Version: {release['version']()}"]
    lines += ["License-Expression: MIT AND CC-BY-SA-3.0"]
    lines += [f"License-File: {name}" for name in release["LICENCES"]]
    files[f"{about}/WHEEL"] = b"Root-Is-Purelib: false\nTag: cp311-abi3-manylinux_2_31_x86_64\n"
    files[f"{about}/METADATA"] = "\n".join([*lines, "", ""]).encode()
    for name in release["LICENCES"]:
        files[f"{about}/licenses/{name}"] = (ROOT / name).read_bytes()
    return files


def a_wheel(folder: Path, files: Files) -> Path:
    path = folder / "plc_engine.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def without_licence(manifest: bytes) -> bytes:
    return json.dumps(json.loads(manifest) | {"licence": ""}).encode()


def other(files: Files, ending: str, change: Callable[[bytes], bytes]) -> Files:
    """Return files of which those with an ending are changed."""
    return {n: change(data) if n.endswith(ending) else data for n, data in files.items()}


@pytest.mark.slow
def test_a_good_wheel_passes_and_broken_ones_do_not(
    release: dict[str, Any], good: Files, tmp_path: Path
) -> None:
    problems = release["problems_of_wheel"]
    assert problems(a_wheel(tmp_path, good)) == []

    def less(*gone: str) -> Files:
        return {name: data for name, data in good.items() if name not in gone}

    machine_code = {"plc_kernels/machine_code/kernels.abi3.so": b""}
    library = {f"plc/embed/libplc/{name}": b"" for name in BUILT}
    about = ABOUT.replace("VERSION", release["version"]())
    broken = [
        (less("plc/embed/plc.c"), "plc/embed/plc.c is missing"),
        (less(WEIGHTS), "speech.json: its weights are missing"),
        (other(good, WEIGHTS, lambda data: data[:-1] + b"x"), "are not those that it states"),
        (other(good, "models/music.json", without_licence), "music.json names no licence"),
        (less("plc/data/models/speech.json"), "speech.onnx has no manifest"),
        (less(f"{about}/licenses/LICENSE"), "the licence LICENSE is missing"),
        (less("plc/data/LICENCE.md"), "plc/data/music.flac: plc/data/LICENCE.md does not name"),
        (good | {"tests/test_demo.py": b""}, "tests/test_demo.py does not belong in a wheel"),
        (good | {"plc/data/corpus/a.wav": b""}, "plc/data/corpus/a.wav is a recording"),
        (good | {"plc/data/secret.npz": b""}, "secret.npz: plc/data/LICENCE.md does not name"),
        (other(good, "METADATA", lambda data: data.replace(b"Version: 0", b"Version: 9")), "'Vers"),
        (good | machine_code, "does not belong in a wheel for every machine"),
    ]
    for files, what in broken:
        found = problems(a_wheel(tmp_path, files))
        assert any(what in problem for problem in found), (what, found)
    assert problems(a_wheel(tmp_path, good | machine_code | library), True) == []
    found = problems(a_wheel(tmp_path, good | machine_code), True)
    assert len(found) == len(BUILT), found
    whole = good | machine_code | library | {"plc/embed/libplc/": b""}
    assert problems(a_wheel(tmp_path, whole), True) == []
    for files in (
        other(whole, "/WHEEL", lambda data: data.replace(b"manylinux_2_31", b"linux")),
        other(whole, "/WHEEL", lambda data: data.replace(b"false", b"true")),
    ):
        found = problems(a_wheel(tmp_path, files), True)
        assert found == ["WHEEL names no platform that indexes take"]


@pytest.mark.slow
def test_a_source_archive_with_too_much_or_too_little_does_not_pass(
    release: dict[str, Any], tmp_path: Path
) -> None:
    top = f"plc_engine-{release['version']()}"
    folders = (*release["PACKAGES"], "tests/", "examples/")
    names = [name for name in release["tracked"]() if name.startswith(folders)]
    names += ["LICENSE", "pyproject.toml", "README.md", "CHANGELOG.md", "constraints.txt"]

    def problems(names: list[str], added: str = "PKG-INFO") -> Any:
        path = tmp_path / "plc_engine.tar.gz"
        with tarfile.open(path, "w") as archive:
            for name in names:
                archive.add(ROOT / name, f"{top}/{name}")
            member = tarfile.TarInfo(f"{top}/{added}")
            archive.addfile(member, io.BytesIO(b""))
        return release["problems_of_sources"](path)

    assert problems(names) == []
    assert problems(names[1:]) == [f"{names[0]} is missing"]
    assert "bench/data/a.flac is a recording" in problems(names, "bench/data/a.flac")
    assert problems(names, "notes.txt") == ["notes.txt does not belong here"]


@pytest.mark.parametrize("page", ["library", "browser"])
def test_of_all_wheels_of_a_release_the_start_pages_install_that_of_the_machine(
    page: str, tmp_path: Path
) -> None:
    wheelfile = pytest.importorskip("wheel.wheelfile")
    machine = platform.machine()
    for tag in ("py3-none-any", *(f"cp311-abi3-manylinux_2_31_{m}" for m in ("x86_64", "aarch64"))):
        path = tmp_path / f"plc_engine-0.2.0-{tag}.whl"
        with wheelfile.WheelFile(path, "w") as archive:
            about = "plc_engine-0.2.0.dist-info"
            archive.writestr(
                f"{about}/METADATA", "Metadata-Version: 2.1\nName: plc-engine\nVersion: 0.2.0\n"
            )
            archive.writestr(
                f"{about}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
            )
    command = re.search(
        r"^    pip (install plc_engine\S+( \S+)?whl) ",
        (ROOT / f"docs/start/{page}.md").read_text(),
        re.M,
    )
    assert command is not None
    asked = (
        f"{sys.executable} -m pip {command[1]} --dry-run --no-deps --no-index --ignore-installed"
    )
    done = subprocess.run(["sh", "-c", asked], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"_{machine}.whl" in done.stdout


def test_the_networks_of_papers_are_a_wheel_of_their_own(
    release: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("wheel.wheelfile")
    with zipfile.ZipFile(release["wheel_of_papers"](tmp_path)) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        metadata = next(name for name in archive.namelist() if name.endswith("METADATA"))
        assert (
            f"Requires-Dist: plc-engine=={release['version']()}" in archive.read(metadata).decode()
        )
    assert sorted(names) == sorted(release["PAPER_FILES"])
    excluded = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = excluded["exclude-package-data"]["plc"]
    models = [name for name in release["tracked"]() if name.startswith("plc/data/models/")]
    left_out = {n for n in models for each in patterns if fnmatch.fnmatch(n, f"plc/{each}")}
    assert left_out == set(names)


def test_no_requirement_is_a_distribution_of_ours_that_anybody_may_register() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(each for extra in extras.values() for each in extra)]
    own = [each for each in asked if each.lower().replace("_", "-").startswith("plc")]
    # The package itself, which is there already, with others of its extras.
    assert all(re.fullmatch(r"plc-engine\[[a-z,]+\]", each) for each in own)


def test_the_papers_name_the_version(release: dict[str, Any]) -> None:
    assert release["problems_of_papers"]() == []
