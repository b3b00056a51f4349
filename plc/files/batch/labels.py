"""Labels of many recordings: a folder, a bucket or a zip file of ``NAME.txt``.

The labels of ``a.wav`` are ``a.wav.txt``, or else ``a.txt``. An empty file says that somebody
looked and there is nothing to fill; without a file nobody has looked.
"""

import zipfile
from pathlib import Path, PurePosixPath

from plc.errors import AudioFileError, why
from plc.files.batch.folders import Folder, Place, place
from plc.files.marks import names_beside

_ZIP = ".zip"
# One of more is none of ours.
_LABELS_BYTES_MAX = 2**24


class ZippedLabels:
    """A zip file of labels, as the page of ``plc repair`` saves it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = str(path)
        try:
            with zipfile.ZipFile(path) as archive:
                self._members = {each.filename: each for each in archive.infolist()}
        except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
            reason = why(error) if isinstance(error, OSError) else "it is no zip file"
            raise AudioFileError(f"cannot read the labels in {path}: {reason}") from error

    def stamp(self, name: str) -> str:
        """Return a text that changes when a file does; empty if it is missing."""
        about = self._members.get(name)
        return "" if about is None else f"{about.file_size} {about.CRC:08x}"

    def fetch(self, name: str, folder: Path) -> Path:
        """Return a copy in a folder."""
        about = self._members[name]
        if about.file_size > _LABELS_BYTES_MAX:
            raise AudioFileError(f"{name} of {self.path} has {about.file_size} bytes: no labels")
        made = folder / "labels.txt"
        try:
            with zipfile.ZipFile(self.path) as archive:
                made.write_bytes(archive.read(about))
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise AudioFileError(f"cannot read {name} of {self.path}: {error}") from error
        return made


def is_zip(path: Path) -> bool:
    """Return whether a path leads to zipped labels."""
    return path.suffix.lower() == _ZIP and not path.is_dir()


def labels_at(url: str) -> Place | ZippedLabels:
    """Return the labels of a path or URL.

    Raises
    ------
    AudioFileError
        If there are none.
    """
    if "://" not in url and is_zip(Path(url)):
        return ZippedLabels(Path(url))
    labels = place(url)
    if isinstance(labels, Folder) and not labels.path.is_dir():
        raise AudioFileError(
            f"{url} is not a folder; name one with NAME.txt of recordings, or a .zip"
        )
    return labels


def label_of(labels: Place | ZippedLabels, name: str) -> tuple[str, str]:
    """Return name and stamp of a recording's labels; empty texts if there are none."""
    for label in names_beside(PurePosixPath(name).as_posix()):
        if stamp := labels.stamp(label):
            return label, stamp
    return "", ""
