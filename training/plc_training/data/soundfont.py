"""A library of single notes, rendered from a soundfont as NSynth's were.

Each program of General MIDI plays notes of 4 s, held for 3 s, at three velocities, dry: pitches 24
to 84 by default, where NSynth has 21 to 108; ``every`` thins them. FluidSynth renders; Debian has
it and the soundfont (``apt-get install fluidsynth fluid-soundfont-gm``, MIT licence). The folder
holds a FLAC file for each program, a ``manifest.csv`` in which one program in ten validates, or
those that are named, and a ``notes.csv`` of all notes (:mod:`plc_training.data.library`).

    plc train notes --out NOTES
    plc train notes_complex --data NOTES

Engel et al., "Neural audio synthesis of musical notes with WaveNet autoencoders", ICML, 2017.
"""

import csv
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from plc.errors import ConfigError, MissingExtraError, why

SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
"""Of Debian's package fluid-soundfont-gm."""
LICENCE = "MIT"
"""Of that soundfont."""
NOTE_S, HELD_S = 4, 3
SAMPLE_RATE = 16_000
VELOCITIES = (50, 80, 115)
GAIN = 0.2
"""FluidSynth's own."""
PROGRAMS = 128
_INSTALL = "apt-get install fluidsynth fluid-soundfont-gm"
_VALID_EVERY = 10
# MIDI: ticks of a second, at the usual tempo of 120 quarter notes a minute.
_TICKS = 480
_SECOND = 2 * _TICKS
_PROGRAM_CHANGE, _NOTE_ON = 0xC0, 0x90
_END_OF_TRACK = b"\xff\x2f\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """Choice of notes to render.

    Attributes
    ----------
    programs : sequence of int
        Of General MIDI, 0 to 127.
    every : int
        Each program plays one in this many of the pitches, the next program the next ones: fewer
        notes, in which all pitches are heard.
    valid : sequence of int
        Programs that validate; none: one in ten.
    gain : float
        FluidSynth's, 0 to 10, not included; at its own of 0.2 most notes are far below full scale.

    Raises
    ------
    ConfigError
        If a number is out of its range, or there is none.
    """

    programs: Sequence[int] = range(PROGRAMS)
    pitches: Sequence[int] = range(24, 85)
    every: int = 1
    valid: Sequence[int] = ()
    gain: float = GAIN

    def __post_init__(self) -> None:
        """Raise for values outside MIDI's range."""
        for name, values in (("programs", self.programs), ("pitches", self.pitches)):
            if not values or min(values) < 0 or max(values) > 127:
                raise ConfigError(f"{name} are {list(values)}; expected at least one, 0 to 127")
        if not 1 <= self.every <= len(self.pitches):
            raise ConfigError(
                f"every is {self.every}; expected 1 to {len(self.pitches)}, the pitches"
            )
        if strange := set(self.valid) - set(self.programs):
            raise ConfigError(f"programs to validate with are not rendered: {sorted(strange)}")
        if not 0.0 < self.gain < 10.0:
            raise ConfigError(f"gain is {self.gain:g}; FluidSynth has more than 0 and less than 10")

    def played_by(self, program: int) -> list[tuple[int, int]]:
        """Return pitches and velocities of a program, in its file's order."""
        first = program % self.every
        pitches = self.pitches[first :: self.every]
        return [(pitch, velocity) for pitch in pitches for velocity in VELOCITIES]

    def validates(self, program: int) -> bool:
        """Return whether a program belongs to the validation split."""
        if self.valid:
            return program in self.valid
        return list(self.programs).index(program) % _VALID_EVERY == _VALID_EVERY - 1


def render_notes(
    notes: Notes, out: Path, on_done: Callable[[], None] = lambda: None
) -> dict[str, int]:
    """Render all notes into a folder; programs that lie there already stay.

    Returns
    -------
    dict
        Number of notes by the name of the file.

    Raises
    ------
    MissingExtraError
        If FluidSynth or the soundfont is missing.
    ConfigError
        If FluidSynth fails, or the folder cannot be written.
    """
    if shutil.which("fluidsynth") is None:
        raise MissingExtraError(f"rendering notes needs FluidSynth: {_INSTALL}")
    if not SOUNDFONT.is_file():
        raise MissingExtraError(f"there is no soundfont {SOUNDFONT}: {_INSTALL}")
    names = {program: f"gm{program:03d}.flac" for program in notes.programs}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for program, name in names.items():
            if not (out / name).exists():
                _render(notes, program, out / name)
            on_done()
        _write_tables(notes, names, out)
    except OSError as error:
        raise ConfigError(f"cannot write into {out}: {why(error)}") from error
    return {name: len(notes.played_by(program)) for program, name in names.items()}


def midi_file(program: int, notes: Sequence[tuple[int, int]]) -> bytes:
    """Return a standard MIDI file that plays notes one after the other.

    Parameters
    ----------
    notes : sequence of tuple
        Pitch and velocity of each.
    """
    track = b"\x00" + bytes([_PROGRAM_CHANGE, program])
    pause = 0
    for pitch, velocity in notes:
        track += _length(pause) + bytes([_NOTE_ON, pitch, velocity])
        # A note-on of velocity 0 ends a note.
        track += _length(HELD_S * _SECOND) + bytes([_NOTE_ON, pitch, 0])
        pause = (NOTE_S - HELD_S) * _SECOND
    track += _length(pause) + _END_OF_TRACK
    header = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, _TICKS)
    return header + struct.pack(">4sI", b"MTrk", len(track)) + track


def _length(ticks: int) -> bytes:
    """Return a number as MIDI writes them: seven bits a byte, the highest first."""
    parts = [ticks & 0x7F]
    while ticks := ticks >> 7:
        parts.append(ticks & 0x7F | 0x80)
    return bytes(reversed(parts))


def _render(notes: Notes, program: int, target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        song, sound = Path(folder) / "notes.mid", Path(folder) / "notes.flac"
        song.write_bytes(midi_file(program, notes.played_by(program)))
        command = ["fluidsynth", "-n", "-i", "-q", "-R", "0", "-C", "0", "-T", "flac", "-O", "s16"]
        command += ["-r", str(SAMPLE_RATE), "-g", f"{notes.gain:g}", "-F", str(sound)]
        done = subprocess.run(
            [*command, str(SOUNDFONT), str(song)], capture_output=True, text=True, check=False
        )
        if done.returncode or not sound.is_file():
            said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            raise ConfigError(f"FluidSynth cannot render program {program}: {said}")
        part = target.with_suffix(".part")
        shutil.copyfile(sound, part)
        part.rename(target)


def _write_tables(notes: Notes, names: dict[int, str], out: Path) -> None:
    """Write the manifest, and bounds, pitch and velocity of each note."""
    with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "domain", "split", "source", "licence", "source_nyquist_hz"])
        for program, name in names.items():
            split = "valid" if notes.validates(program) else "train"
            top = SAMPLE_RATE / 2
            table.writerow([name, "instruments", split, SOUNDFONT.stem, LICENCE, top])
    with (out / "notes.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "start_s", "duration_s", "midi", "velocity"])
        for program, name in names.items():
            for number, (pitch, velocity) in enumerate(notes.played_by(program)):
                table.writerow([name, NOTE_S * number, NOTE_S, pitch, velocity])
