import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from plc.errors import ConfigError
from plc_kernels.build.targets import X86_64, machine

wheelfile = pytest.importorskip("wheel.wheelfile")
if sys.platform != "linux" or machine() != X86_64:
    pytest.skip("such wheels are for Linux on x86-64", allow_module_level=True)


MADE = runpy.run_path(str(Path(__file__).parents[1] / ".ci" / "machine_code.py"))
LEVELS, build_wheel = MADE["LEVELS"], MADE["build_wheel"]


def a_wheel(folder: Path, **files: str) -> Path:
    path = folder / "plc_engine-0.1.0-py3-none-any.whl"
    with wheelfile.WheelFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/", 1) + ".py", text)
    return path


def test_levels_are_known_and_of_one_family(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x86-64-v9.*give some of x86-64-v2"):
        build_wheel(a_wheel(tmp_path), tmp_path, ["x86-64-v9"])
    with pytest.raises(ConfigError, match="none"):
        build_wheel(a_wheel(tmp_path), tmp_path, [])
    with pytest.raises(ConfigError, match="aarch64; a wheel is for one family of processors"):
        build_wheel(a_wheel(tmp_path), tmp_path, ["x86-64-v3", "aarch64"])


def test_an_installation_without_numba_makes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(build_wheel.__globals__, "LEVEL", "x86-64-v3")
    with pytest.raises(ConfigError, match="from a source checkout"):
        build_wheel(a_wheel(tmp_path), tmp_path)


def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plc_engine-0.1.0-py3-none-any.whl"
    path.write_bytes(b"no archive")
    with pytest.raises(ConfigError, match="wheel unpack"):
        build_wheel(path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_wheel_says_which_c_library_it_needs(tmp_path: Path) -> None:
    """By the name that indexes ask for; where it goes stands inside."""
    pytest.importorskip("auditwheel")
    if shutil.which("cc") is None:
        pytest.skip("there is no compiler")
    (tmp_path / "a.c").write_text('#include <stdio.h>\nint a(void) { return puts("a"); }\n')
    subprocess.run(["cc", "-shared", "-fPIC", "a.c", "-o", "a.so"], cwd=tmp_path, check=True)
    unpacked = tmp_path / "plc_engine-0.1.0"
    about = unpacked / "plc_engine-0.1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plc-engine\nVersion: 0.1.0\n")
    (about / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    shutil.copy(tmp_path / "a.so", unpacked)
    path = MADE["pack"](unpacked, "x86_64", tmp_path)
    named = re.fullmatch(r".*-cp311-abi3-(manylinux\w+_x86_64[.\w]*)\.whl", path.name)
    assert named, path.name
    with wheelfile.WheelFile(path) as archive:
        lines = archive.read("plc_engine-0.1.0.dist-info/WHEEL").decode().splitlines()
    tags = {line for line in lines if line.startswith("Tag: ")}
    assert tags == {f"Tag: cp311-abi3-{each}" for each in named[1].split(".")}
    assert "Root-Is-Purelib: false" in lines


def test_a_wheel_of_other_sources_is_refused(tmp_path: Path) -> None:
    wheel = a_wheel(tmp_path, plc_kernels__ar="another = 1\n")
    with pytest.raises(ConfigError, match=r"has another plc_kernels/.*python -m build --wheel"):
        build_wheel(wheel, tmp_path / "out", LEVELS[:1])
