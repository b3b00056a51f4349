"""A live stream's recording, written by its own thread.

The receiver hands over its blocks and never waits for the disk. Blocks that the disk has not taken
wait in memory, a minute at most; later ones are counted and written as silence, so that what
follows keeps its time. Blocks that may lie after the end of the stream wait, too, and are left out
if nothing follows.

The file is created with the first block. A recording that cannot go on (a full disk) is closed with
what was written. It gets its name at the end, in place of an earlier file, if it holds any sound.
"""

import contextlib
import itertools
import os
import stat
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from plc import notice
from plc.engine.runtime.threads import Level, leave, take
from plc.errors import ConfigError, PlcError
from plc.files.tags.chunks import origin_tags
from plc.files.writing import AudioWriter, rescue
from plc.whole_files import behind, folded, folds_case, leftovers

WAITING_MAX_S = 60.0
# Of what may be after the end; the rest of so long a pause is silent. With the disk's it has room.
KEPT_BACK_MAX_S = 30.0
_EVERY_S = 0.25
# Written at once, so that after a stop of the disk no more than that is copied together.
_PIECE_S = 1.0


_claimed: set[object] = set()
"""Of the recordings of this process."""
_claiming = threading.Lock()


@dataclass(frozen=True, slots=True)
class RecordingFile:
    """Where a recording is to stand; the suffix says the format."""

    path: Path

    def __str__(self) -> str:
        """Return its name."""
        return str(self.path)

    @property
    def places(self) -> frozenset[object]:
        """Identities: the file's own, and its place in its folder."""
        real = Path(os.path.realpath(self.path))
        found: set[object] = set()
        try:
            folder = real.parent.stat()
            name = folded(real.name) if folds_case(real.parent) else real.name
            found.add((folder.st_dev, folder.st_ino, name))
        except OSError:  # there is no such folder
            found.add((str(real),))
        with contextlib.suppress(OSError):
            there = real.stat()
            if stat.S_ISREG(there.st_mode):
                found.add((there.st_dev, there.st_ino))
        return frozenset(found)

    def record(self, sample_rate: int, channels: int, subtype: str | None) -> "Recorder":
        """Return a :class:`Recorder` that writes it."""
        return Recorder(self.path, sample_rate, channels, subtype)

    def unfinished(self) -> list[Path]:
        """Return its files of killed processes; raise AudioFileError for a link elsewhere."""
        return leftovers(behind(self.path))

    def rescue(self, unfinished: list[Path], taken: frozenset[object]) -> Self:
        """Keep the files of killed processes, under free names; return the next such name."""
        for file in unfinished:
            try:
                rescue(file, self._free(taken).path)
            except PlcError as failure:
                notice.tell(str(failure))
        return self._free(taken)

    def _free(self, taken: frozenset[object]) -> Self:
        """Return the first of NAME, NAME-2, NAME-3 and so on that is neither there nor taken."""
        if not os.path.lexists(self.path):
            return self
        stem = self.path.stem
        files = (type(self)(self.path.with_stem(f"{stem}-{n}")) for n in itertools.count(2))
        return next(one for one in files if not (os.path.lexists(one.path) or one.places & taken))


def _release(places: frozenset[object]) -> None:
    with _claiming:
        _claimed.difference_update(places)


def in_utc(time_s: float) -> str:
    """Return a time in s since 1970 as ISO 8601 has it."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="microseconds")


class Recorder:
    """A recording that takes blocks without waiting.

    Parameters
    ----------
    path : Path
        Where it shall stand; the suffix says the format.
    sample_rate, channels : int, of it
    subtype : str or None
        Coding that holds every sample, by libsndfile's name; kept if the format can.
    tell : callable, optional
        Told in a line, from another thread, if the recording cannot go on.

    Attributes
    ----------
    error : str or None, why it could not go on
    start_s : float or None
        When its first sample is due, in s since 1970; None before :meth:`begin`.

    Raises
    ------
    AudioFileError
        If the format is unknown, cannot hold such audio, or the place is not writable.
    ConfigError
        If another recording goes there, by whatever name.
    """

    def __init__(
        self,
        path: Path,
        sample_rate: int,
        channels: int,
        subtype: str | None = None,
        tell: Callable[[str], object] = notice.tell,
    ) -> None:
        self.path = path
        self.error: str | None = None
        self.start_s: float | None
        self._kept_back: list[NDArray[np.float32]]
        self._kept_back_samples: int
        self._places = RecordingFile(path).places
        with _claiming:
            if self._places & _claimed:
                raise ConfigError(f"{path} is where another stream goes; give another file")
            _claimed.update(self._places)
        try:
            self.set_format(sample_rate, channels, subtype)
        except BaseException:
            _release(self._places)
            raise
        self._tell = tell
        self._waiting: deque[NDArray[np.float32] | int] = deque()
        """Blocks, and numbers of silent samples; appended to here, taken from in the thread."""
        self._missing = 0
        self._refused = 0
        # Each is written by one thread and read by the other.
        self._taken = 0
        self._done = 0
        self._silent = 0
        self._writer: AudioWriter | None = None
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def set_format(self, sample_rate: int, channels: int, subtype: str | None) -> None:
        """Take another format, before the first block."""
        # What would be refused at the first block is refused before there is one.
        AudioWriter(self.path, sample_rate, channels, subtype).discard()
        self._sample_rate, self._form = sample_rate, (channels, subtype)
        self.start_s, self._kept_back, self._kept_back_samples = None, [], 0

    def begin(self, start_s: float, silent_samples: int = 0) -> None:
        """Set the time of the first block, in s since 1970, and the silent samples before it."""
        self.start_s = start_s - silent_samples / self._sample_rate
        self._missing = silent_samples

    def keep_back(self, block: NDArray[np.float32]) -> None:
        """Append ``block`` only if :meth:`write` appends another one behind it; it is copied."""
        if self._kept_back_samples < KEPT_BACK_MAX_S * self._sample_rate:
            self._kept_back.append(np.array(block, np.float32))
        self._kept_back_samples += len(block)

    def write(self, block: NDArray[np.float32]) -> None:
        """Append ``block``: float32, shape (n, channels); it is copied."""
        for kept in self._kept_back:
            self._append(kept)
            self._kept_back_samples -= len(kept)
        self._missing += self._kept_back_samples
        self._kept_back, self._kept_back_samples = [], 0
        self._append(block)

    def _append(self, block: NDArray[np.float32]) -> None:
        n = len(block)
        if self.error is not None:
            self._refused += n
            return
        if self._taken - self._done + n > WAITING_MAX_S * self._sample_rate:
            self._refused += n
            self._missing += n
            return
        self._make_up()
        self._waiting.append(np.array(block, np.float32))
        self._taken += n
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, name=f"plc recording {self.path.name}", daemon=True
            )
            self._thread.start()

    @property
    def unwritten_samples(self) -> int:
        """Samples handed over that the file will never hold."""
        if self.error is None:
            return self._refused
        written = 0 if self._writer is None else self._writer.written_samples - self._silent
        return self._refused + self._taken - written

    def _make_up(self) -> None:
        if self._missing:
            self._waiting.append(self._missing)
            self._missing = 0

    def close(self) -> None:
        """Write the waiting blocks and close the file; create none without audio."""
        self._make_up()
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        _release(self._places)
        self._places = frozenset()

    def report(self) -> dict[str, Any]:
        """Return the counters by name."""
        return {
            "file": str(self.path),
            "start": None if self.start_s is None else in_utc(self.start_s),
            "recorded_s": 0.0 if self._writer is None else self._recorded_s(self._writer),
            "unwritten_samples": self.unwritten_samples,
            "error": self.error,
        }

    def _recorded_s(self, writer: AudioWriter) -> float:
        return writer.written_samples / self._sample_rate

    # ---- in the thread --------------------------------------------------------------------------

    def _work(self) -> None:
        take(Level.SERVING)
        try:
            tags = None if self.start_s is None else origin_tags(self.start_s, self._sample_rate)
            self._writer = AudioWriter(self.path, self._sample_rate, *self._form, tags=tags)
            ending = False
            while not ending:
                ending = self._ending.wait(_EVERY_S)
                while self._waiting:
                    self._write_piece(self._writer)
            self._writer.commit()
        except Exception as error:  # whatever it is: it ends this recording, and nothing else
            self._give_up(error)
        finally:
            leave()

    def _write_piece(self, writer: AudioWriter) -> None:
        """Write the waiting blocks, or a second of them; at first one block."""
        most = _PIECE_S * self._sample_rate if self._done else 1
        blocks: list[NDArray[np.float32]] = []
        n = 0
        while n < most and self._waiting:
            first = self._waiting[0]
            if isinstance(first, int):
                if not blocks:
                    before = writer.written_samples
                    try:
                        writer.write_silence(first)
                    finally:
                        self._silent += writer.written_samples - before
                    self._waiting.popleft()
                break
            blocks.append(first)
            n += len(first)
            self._waiting.popleft()
        if blocks:
            writer.write(np.concatenate(blocks))
            self._done += n

    def _give_up(self, error: Exception) -> None:
        """End the recording, keep its file, and report why; later blocks are counted."""
        reason = str(error) if isinstance(error, PlcError) else f"cannot write {self.path}: {error}"
        self.error = reason
        kept = "nothing was written"
        writer = self._writer
        if writer is not None and writer.written_samples:
            kept = f"the {self._recorded_s(writer):.1f} s written before are kept"
            try:
                writer.salvage()
            except PlcError as failure:
                kept = str(failure)
        elif writer is not None:
            writer.discard()
        self._waiting.clear()
        self._tell(f"{reason}; {kept}, the recording ends")
