"""Files of a release that are not for Python."""

import json
import re
import runpy
import shutil
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DAY = datetime(2026, 11, 28, tzinfo=UTC)
needs_debian = pytest.mark.skipif(
    not all(map(shutil.which, ("dpkg-deb", "cc", "strip"))), reason="needs dpkg-deb and a compiler"
)


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / ".ci" / "release_files.py"))


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """What ``plc c build --prefix`` installs, with other contents."""
    folder = tmp_path / "prefix"
    lib = folder / "lib"
    for name, text in (
        ("lib/libplc.so.0.1.0", "\x7fELF GLIBC_2.2.5\0 GLIBC_2.29\0 GLIBC_PRIVATE\0"),
        ("lib/libplc.a", "archive"),
        ("lib/ladspa/plc_ladspa.so", "\x7fELF GLIBC_2.4\0"),
        ("lib/plc/libplc_inside.so", "\x7fELF GLIBC_2.4\0"),
        ("lib/plc/plc.plcm", "networks"),
        ("bin/plc-inside", "#!/bin/sh\n"),
        ("lib/pkgconfig/plc.pc", "includedir=${pcfiledir}/../../include\n"),
        ("lib/cmake/plc/plcConfig.cmake", 'set(_plc_include "${_plc_lib}/../include")\n'),
        ("include/plc.h", "int plc;\n"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (lib / "libplc.so.0").symlink_to("libplc.so.0.1.0")
    (lib / "libplc.so").symlink_to("libplc.so.0")
    return folder


def test_an_archive_has_all_of_a_prefix_and_is_the_same_again(
    made: dict[str, Any], prefix: Path, tmp_path: Path
) -> None:
    licence = ROOT / "LICENSE"
    path = made["pack_library"](prefix, licence, tmp_path, "0.1.0")
    before = path.read_bytes()
    (prefix / "include/plc.h").touch()
    assert made["pack_library"](prefix, licence, tmp_path, "0.1.0").read_bytes() == before
    with tarfile.open(path) as archive:
        names = {each.name.split("/", 1)[1]: each for each in archive}
    assert names["lib/libplc.so"].linkname == "libplc.so.0"
    assert names["lib/libplc.so.0.1.0"].mode == names["bin/plc-inside"].mode == 0o755
    assert {"LICENSE", "include/plc.h", "lib/ladspa/plc_ladspa.so"} < set(names)
    path = made["pack_library"](prefix, licence, tmp_path, "0.1.0", "windows-x86_64")
    assert path.name == "libplc-0.1.0-windows-x86_64.tar.gz"


def test_the_npm_package_has_what_its_description_names(
    made: dict[str, Any], tmp_path: Path
) -> None:
    page = tmp_path / "page"
    page.mkdir()
    about = {"name": "plc-engine", "version": "0.1.0", "files": ["plc.*", "*.plcm"]}
    (page / "package.json").write_text(json.dumps(about))
    for name in ("plc.mjs", "speech.plcm", "index.html"):
        (page / name).write_text(name)
    path = made["pack_npm"](page, ROOT / "LICENSE", tmp_path)
    assert path.name == "plc-engine-0.1.0.tgz"
    with tarfile.open(path) as archive:
        names = {each.name.removeprefix("package/") for each in archive}
    assert names == {"package.json", "plc.mjs", "speech.plcm", "LICENSE"}


def test_what_needs_a_newer_c_library_says_so(made: dict[str, Any], prefix: Path) -> None:
    needed = [
        made["libc_needed"]([prefix / "lib" / name])
        for name in ("libplc.so.0.1.0", "ladspa/plc_ladspa.so", "libplc.a")
    ]
    assert needed == ["2.29", "2.4", "2.17"]


@pytest.fixture
def compiled(prefix: Path, tmp_path: Path) -> Path:
    """The prefix, with libraries that a compiler made."""
    source = tmp_path / "plc.c"
    source.write_text("#include <stdio.h>\nint plc(void) { return puts(__FILE__); }\n")
    shared, plugin = prefix / "lib/libplc.so.0.1.0", prefix / "lib/ladspa/plc_ladspa.so"
    command = ["cc", "-g", "-O2", "-fPIC", "-shared", "-Wl,-soname,libplc.so.0", str(source)]
    subprocess.run([*command, "-o", shared], check=True)
    shutil.copy(shared, plugin)
    shutil.copy(shared, prefix / "lib/plc/libplc_inside.so")
    archive = prefix / "lib/libplc.a"
    archive.unlink()
    subprocess.run(["ar", "rcs", archive, shared], check=True)
    return prefix


@needs_debian
def test_debians_packages_find_their_headers_and_say_what_they_need(
    made: dict[str, Any], compiled: Path, tmp_path: Path
) -> None:
    paths = made["pack_debian"](compiled, ROOT / "LICENSE", tmp_path, "0.1.0", DAY)
    root = tmp_path / "root"
    for path in paths:
        subprocess.run(["dpkg-deb", "--extract", path, root], check=True)
    lib = root / "usr/lib/x86_64-linux-gnu"
    assert (lib / "libplc.so").resolve() == lib / "libplc.so.0.1.0"
    assert (root / "usr/lib/ladspa/plc_ladspa.so").is_file()
    assert (lib / "plc/plc.plcm").is_file()
    assert (root / "usr/bin/plc-inside").stat().st_mode & 0o777 == 0o755
    include = (lib / "pkgconfig/plc.pc").read_text().strip().removeprefix("includedir=")
    there = Path(include.replace("${pcfiledir}", str(lib / "pkgconfig"))).resolve()
    assert there == root / "usr/include"
    assert "${_plc_lib}/../../include" in (lib / "cmake/plc/plcConfig.cmake").read_text()
    needed = [
        subprocess.check_output(["dpkg-deb", "--field", path, "Depends"], text=True).strip()
        for path in paths
    ]
    assert all(re.match(r"libc6 \(>= 2[\d.]+\)", each) for each in needed)
    assert needed[1].endswith(", libplc0 (= 0.1.0)")
    sections = subprocess.check_output(["readelf", "-S", lib / "libplc.so.0.1.0"], text=True)
    assert ".debug_info" not in sections
    assert ".symtab" not in sections
    assert (lib / "libplc.so.0.1.0").stat().st_mtime == DAY.timestamp()
    before = [path.read_bytes() for path in paths]
    (compiled / "include/plc.h").touch()
    again = made["pack_debian"](compiled, ROOT / "LICENSE", tmp_path, "0.1.0", DAY)
    assert [path.read_bytes() for path in again] == before
    shutil.rmtree(compiled / "lib/ladspa")
    with pytest.raises(FileNotFoundError, match="lib/ladspa"):
        made["pack_debian"](compiled, ROOT / "LICENSE", tmp_path, "0.1.0", DAY)


@pytest.mark.slow
@needs_debian
@pytest.mark.skipif(not shutil.which("lintian"), reason="needs lintian")
def test_lintian_finds_no_error_in_debians_packages(
    made: dict[str, Any], compiled: Path, tmp_path: Path
) -> None:
    paths = made["pack_debian"](compiled, ROOT / "LICENSE", tmp_path, "0.1.0", DAY)
    command = ["lintian", "--fail-on", "error,warning", *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert not re.search("^[EW]: ", done.stdout, re.M)


@needs_debian
def test_gstreamers_plugin_is_packed_where_it_was_made(
    made: dict[str, Any], compiled: Path, tmp_path: Path
) -> None:
    folder = compiled / "lib/gstreamer-1.0"
    folder.mkdir()
    shutil.copy(compiled / "lib/ladspa/plc_ladspa.so", folder / "libgstplc.so")
    (folder / "plc.plcm").write_bytes(b"networks")
    paths = made["pack_debian"](compiled, ROOT / "LICENSE", tmp_path, "0.1.0", DAY)
    assert [path.name for path in paths][-1] == "plc-gstreamer_0.1.0_amd64.deb"
    subprocess.run(["dpkg-deb", "--extract", paths[-1], tmp_path / "root"], check=True)
    there = tmp_path / "root/usr/lib/x86_64-linux-gnu/gstreamer-1.0"
    assert sorted(path.name for path in there.iterdir()) == ["libgstplc.so", "plc.plcm"]
    needed = subprocess.check_output(["dpkg-deb", "--field", paths[-1], "Depends"], text=True)
    assert needed.strip().endswith("), libgstreamer1.0-0 (>= 1.22)")
