"""Files of a release that are not for Python: ``libplc`` for C, for Debian, and the npm package.

Of an installed prefix (``plc c build --prefix``) and an exported page (``plc web --export``). The
same input gives the same bytes.
"""

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from datetime import datetime
from email.utils import format_datetime
from pathlib import Path

_SUMMARY = "packet-loss concealment of music and speech"
_DETAILS = """\
 Where a packet of sound is lost, plc plays what would most likely have come:
 linear prediction, improved by small neural networks. It runs in real time."""
_MAINTAINER = "The plc authors <authors@plc.invalid>"
_TRIPLET = "x86_64-linux-gnu"
# Debian's packages: what is theirs of a prefix, their section, what they need, and what they are.
_DEBIAN = {
    "libplc0": (("lib/libplc.so.*",), "libs", "", "shared library"),
    "libplc-dev": (
        ("lib/libplc.so", "lib/libplc.a", "lib/pkgconfig/*", "lib/cmake/plc/*", "include/*"),
        "libdevel",
        "libplc0 (= {version})",
        "development files",
    ),
    "plc-ladspa": (("lib/ladspa/*",), "sound", "", "LADSPA plugin"),
    "plc-inside": (
        ("lib/plc/*", "bin/plc-inside"),
        "sound",
        "",
        "for programs that are there",
    ),
    "plc-gstreamer": (
        ("lib/gstreamer-1.0/*",),
        "sound",
        "libgstreamer1.0-0 (>= 1.22)",
        "GStreamer plugin",
    ),
}
# Made where GStreamer is installed.
_OPTIONAL = {"plc-gstreamer"}


def is_run(file: Path) -> bool:
    """Whether a file is a shared library or a command."""
    return ".so" in file.name or file.parent.name == "bin"


def write_archive(path: Path, top: str, files: Iterable[tuple[str, Path]]) -> Path:
    """Write files, with their names, and links into a ``.tar.gz`` below a folder ``top``."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, file in sorted(files):
            entry = archive.gettarinfo(str(file), f"{top}/{name}")
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = ""
            entry.mode = 0o755 if is_run(file) and not entry.issym() else 0o644
            if entry.isreg():
                with file.open("rb") as opened:
                    archive.addfile(entry, opened)
            else:
                archive.addfile(entry)
    path.write_bytes(gzip.compress(packed.getvalue(), mtime=0))
    return path


def pack_library(
    prefix: Path, licence: Path, out: Path, version: str, system: str = "linux-x86_64"
) -> Path:
    """Return an archive of the library as it is installed into a prefix."""
    name = f"libplc-{version}-{system}"
    files = [
        (path.relative_to(prefix).as_posix(), path)
        for path in prefix.rglob("*")
        if path.is_file() or path.is_symlink()
    ]
    return write_archive(out / f"{name}.tar.gz", name, [*files, ("LICENSE", licence)])


def pack_npm(page: Path, licence: Path, out: Path) -> Path:
    """Return the npm package of an exported page, as ``npm pack`` would write it."""
    about = json.loads((page / "package.json").read_text())
    names = ["package.json", *(p.name for each in about["files"] for p in page.glob(each))]
    files = [(name, page / name) for name in dict.fromkeys(names)]
    path = out / f"{about['name']}-{about['version']}.tgz"
    return write_archive(path, "package", [*files, ("LICENSE", licence)])


def libc_needed(files: Iterable[Path]) -> str:
    """Return the newest version of the C library whose symbols shared libraries need."""
    found = {
        tuple(map(int, each.split(b".")))
        for file in files
        for each in re.findall(rb"\bGLIBC_(\d+(?:\.\d+)+)\0", file.read_bytes())
    }
    return ".".join(map(str, max(found, default=(2, 17))))


def pack_debian(prefix: Path, licence: Path, out: Path, version: str, day: datetime) -> list[Path]:
    """Return Debian packages of an installed prefix, made by ``dpkg-deb``, of a day."""
    made = []
    for name, (patterns, section, needs, what) in _DEBIAN.items():
        found = [path for each in patterns for path in sorted(prefix.glob(each))]
        if not found and name in _OPTIONAL:
            continue
        if not found:
            raise FileNotFoundError(f"{prefix} has nothing of {', '.join(patterns)}")
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for path in found:
                _place(path, path.relative_to(prefix).as_posix(), root / "usr")
            about = root / "usr/share/doc" / name
            about.mkdir(parents=True)
            shutil.copy(licence, about / "copyright")
            entry = f"plc ({version}) unstable; urgency=medium\n\n  * Release {version}.\n\n"
            entry += f" -- {_MAINTAINER}  {format_datetime(day)}\n"
            (about / "changelog.gz").write_bytes(gzip.compress(entry.encode(), mtime=0))
            libc = libc_needed(path for path in found if ".so" in path.name)
            lines = {
                "Package": name,
                "Source": "plc",
                "Version": version,
                "Architecture": "amd64",
                "Maintainer": _MAINTAINER,
                "Installed-Size": sum(-(-each.lstat().st_size // 1024) for each in root.rglob("*")),
                "Depends": ", ".join(
                    filter(None, [f"libc6 (>= {libc})", needs.format(version=version)])
                ),
                "Section": section,
                "Priority": "optional",
                "Description": f"{_SUMMARY} ({what})\n{_DETAILS}",
            }
            control = root / "DEBIAN"
            control.mkdir()
            text = "".join(f"{field}: {value}\n" for field, value in lines.items())
            (control / "control").write_text(text)
            if name == "libplc0":
                (control / "triggers").write_text("activate-noawait ldconfig\n")
                soname = next(path.name for path in found if path.is_symlink())
                major = soname.rpartition(".")[2]
                (control / "shlibs").write_text(f"libplc {major} {name} (>= {version})\n")
            for each in (root, *root.rglob("*")):
                if not each.is_symlink():
                    each.chmod(0o755 if each.is_dir() or each.parent.name == "bin" else 0o644)
                os.utime(each, (day.timestamp(),) * 2, follow_symlinks=False)
            path = out / f"{name}_{version}_amd64.deb"
            command = ["dpkg-deb", "--root-owner-group", "--build", str(root), str(path)]
            reproducible = os.environ | {"SOURCE_DATE_EPOCH": str(int(day.timestamp()))}
            subprocess.run(command, check=True, capture_output=True, env=reproducible)
            made.append(path)
    return made


def _place(path: Path, within: str, usr: Path) -> None:
    """Copy a file of a prefix to where Debian has it, without what only debuggers read."""
    # LADSPA hosts look into lib/ladspa, whatever the architecture.
    place = within if "ladspa" in within else re.sub("^lib/", f"lib/{_TRIPLET}/", within)
    target = usr / place
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, target, follow_symlinks=False)
    if target.suffix in (".pc", ".cmake"):  # a folder further down than in a prefix
        target.write_text(target.read_text().replace("/../include", "/../../include"))
    if not target.is_symlink() and (target.suffix == ".a" or ".so" in target.name):
        which = "--strip-debug" if target.suffix == ".a" else "--strip-unneeded"
        strip = ["strip", "--enable-deterministic-archives", which, "--remove-section=.comment"]
        subprocess.run([*strip, str(target)], check=True)
