"""A library of redistributable speech and music from Debian packages.

Games, children's software and telephone systems contain hours of both, under free licences.
Packages are fetched (``apt-get download``) and unpacked (``dpkg -x``), not installed. A
``manifest.csv`` for :mod:`plc_training.data.library` puts all files into the training split, so
that validation stays with another library.

    plc train debian speech music --out DEBIAN
    plc train RECIPE --data CORPUS --data DEBIAN

Telephone prompts are coded in G.722, which libsndfile does not read; the extra ``media`` does.
"""

import csv
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from plc.errors import ConfigError

_COLUMNS = ("path", "domain", "split", "source", "licence")


class Package(NamedTuple):
    """A Debian package with audio."""

    name: str
    domain: str
    """``speech`` or ``music``."""
    licence: str
    """Of the audio, as ``/usr/share/doc/NAME/copyright`` has it."""
    patterns: tuple[str, ...]
    """Files to take, under ``usr/share``."""


_SHARE_ALIKE = "CC-BY-SA-3.0"
_PROMPTS = ("asterisk/sounds/**/*.g722",)
_DIALOGUES = ("games/fillets-ng/sound/**/*.ogg",)
_WORDS = tuple(f"ktuberling/sounds/**/*.{kind}" for kind in ("ogg", "opus", "wav"))
_SONGS = ("games/fretsonfire/data/songs/**/*.ogg",)
_NAEV = "GPL-2+, GPL-3, CC-BY-3.0, CC-BY-SA-3.0 and public domain"
PACKAGES = (
    # Telephone prompts at 16 kHz: a Canadian, an Italian, a Russian.
    Package("asterisk-core-sounds-fr-g722", "speech", _SHARE_ALIKE, _PROMPTS),
    Package("asterisk-core-sounds-it-g722", "speech", "CC-BY-3.0", _PROMPTS),
    Package("asterisk-core-sounds-ru-g722", "speech", "CC-BY-3.0", _PROMPTS),
    # Dialogues of a game, acted in Czech and in Dutch.
    Package("fillets-ng-data-cs", "speech", "GPL-2+", _DIALOGUES),
    Package("fillets-ng-data-nl", "speech", "GPL-2+", _DIALOGUES),
    # Words and syllables, by some forty speakers of as many languages.
    Package("ktuberling-data", "speech", "GPL-2+", _WORDS),
    Package("klettres-data", "speech", "GPL-2+", ("klettres/**/*.ogg",)),
    # Soundtracks of games, and rock songs.
    Package("warzone2100-music", "music", "GPL-2+", ("games/warzone2100/music/**/*.opus",)),
    Package("planetblupi-music-ogg", "music", "GPL-3+", ("planetblupi/music/*.ogg",)),
    Package("naev-data", "music", _NAEV, ("naev/dat/snd/music/*.ogg",)),
    Package("colobot-common-sounds", "music", "GPL-3+", ("games/colobot/music/*.ogg",)),
    Package("singularity-music", "music", _SHARE_ALIKE, ("games/singularity/music/**/*.ogg",)),
    Package("megaglest-data", "music", _SHARE_ALIKE, ("games/megaglest/**/music/*.ogg",)),
    Package("freedroidrpg-data", "music", "GPL-2+", ("freedroidrpg/data/sound/music/*.ogg",)),
    Package("flare-game", "music", "CC-BY-SA-3.0+", ("games/flare/mods/*/music/*.ogg",)),
    Package("pushover-data", "music", "GPL-3+", ("pushover/themes/*.ogg",)),
    Package("hyperrogue-music", "music", "GPL-2+ and CC-BY-SA-3.0", ("hyperrogue/music/*.ogg",)),
    Package("lordsawar-data", "music", "GPL-3+", ("games/lordsawar/music/*.ogg",)),
    Package("zaz-data", "music", _SHARE_ALIKE, ("games/zaz/mus*.ogg",)),
    Package("fretsonfire-songs-muldjord", "music", _SHARE_ALIKE, _SONGS),
    Package("fretsonfire-songs-sectoid", "music", "MIT", _SONGS),
)
"""Packages whose audio is good for training."""


def write_library(out: Path, packages: Sequence[Package]) -> dict[str, int]:
    """Write the manifest of all unpacked packages; return their file counts.

    Parameters
    ----------
    out : Path
        Folder of the unpacked packages, each in a folder of its name.
    packages : sequence of Package
        Packages that may be in it.

    Raises
    ------
    ConfigError
        If a package lacks its audio files, or the folder has the manifest of another library.
    """
    manifest = out / "manifest.csv"
    _refuse_another(manifest)
    there = [each for each in packages if (out / each.name).exists()]
    rows = {each.name: list(_rows(out, each)) for each in there}
    part = out / "manifest.csv.part"
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        for made in rows.values():
            writer.writerows(made)
    part.replace(manifest)
    return {name: len(made) for name, made in rows.items()}


def fetch(out: Path, package: Package) -> None:
    """Download and unpack a package that is missing in the folder.

    Raises
    ------
    ConfigError
        If this system is not Debian, or the package is not available.
    """
    target = out / package.name
    if target.exists():
        return
    part = out / f"{package.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    _call(["apt-get", "download", "-q", package.name], part)
    archive = next(part.glob("*.deb"), part / f"{package.name}.deb")
    _call(["dpkg", "-x", archive.name, "."], part)
    archive.unlink()
    part.replace(target)


def _rows(out: Path, package: Package) -> Iterator[dict[str, str]]:
    share = out / package.name / "usr/share"
    paths = sorted({path for each in package.patterns for path in share.glob(each)})
    files = [path for path in paths if path.is_file() and not path.is_symlink()]
    if not files:
        raise ConfigError(
            f"{out / package.name} holds no {' or '.join(package.patterns)}; remove that folder "
            "to fetch the package again, or name other packages"
        )
    for path in files:
        yield {
            "path": path.relative_to(out).as_posix(),
            "domain": package.domain,
            "split": "train",
            "source": f"Debian {package.name}",
            "licence": package.licence,
        }


def _refuse_another(manifest: Path) -> None:
    if not manifest.exists():
        return
    with manifest.open(newline="", encoding="utf-8") as file:
        ours = csv.DictReader(file).fieldnames == list(_COLUMNS)
    if not ours:
        raise ConfigError(
            f"{manifest} is the manifest of another library; name a folder of its own with --out"
        )


def _call(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{command[0]} is not there: packages are fetched on Debian and its derivatives"
        ) from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines()
        errors = [line for line in said if line.startswith("E:")] or said or ["without a word"]
        hint = "; apt-get update?" if command[0] == "apt-get" else ""
        raise ConfigError(f"{' '.join(command)} failed: {errors[-1]}{hint}") from error


def gather(domains: Sequence[str], out: Path, tell: Callable[[str], None]) -> dict[str, int]:
    """Fetch the packages of some domains, and write the manifest.

    Parameters
    ----------
    tell : callable
        Receives a line before each package.

    Returns
    -------
    dict
        Number of files of each package in the folder.

    Raises
    ------
    ConfigError
        If a domain is unknown, or as for :func:`fetch` and :func:`write_library`.
    """
    known = sorted({each.domain for each in PACKAGES})
    for name in domains:
        if name not in known:
            raise ConfigError(f"domain is {name!r}; expected {' or '.join(known)}")
    out.mkdir(parents=True, exist_ok=True)
    _refuse_another(out / "manifest.csv")
    for package in PACKAGES:
        if package.domain in domains:
            tell(f"{package.name}: {package.licence}")
            fetch(out, package)
    return write_library(out, PACKAGES)
