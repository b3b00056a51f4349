"""The command that writes generated notes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from plc.cli.options import AsJson, examples
from plc.cli.output import Overwrite, print_json, say
from plc.errors import ConfigError
from plc.notice import counted

if TYPE_CHECKING:
    from plc.papers.note_player import Performance, Player

Way = Annotated[
    Literal["random", "scale", "interpolation", "from-midi"],
    typer.Argument(
        help="random: latents and pitches; scale: one latent at all pitches; interpolation: "
        "between two latents at one pitch; from-midi: the notes of a MIDI file."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the WAV files; of from-midi the WAV file.",
        show_default="notes, notes.wav",
    ),
]
Midi = Annotated[Path | None, typer.Option(metavar="FILE", help="MIDI file of from-midi.")]
Count = Annotated[int, typer.Option(min=1, max=1000, help="Notes to make; not of from-midi.")]
LatentSeed = Annotated[int, typer.Option(min=0, help="Of latents and pitches.")]


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    lines = examples(
        "plc generate scale --out scale/",
        "plc generate random --count 20 --seed 3",
        "plc generate from-midi --midi song.mid --out song.wav",
    )
    app.command(rich_help_panel="Files", epilog=lines)(generate)


def generate(
    way: Way = "random",
    model: Annotated[
        str, typer.Option(help="Name or path of a model of kind notes: plc models lists them.")
    ] = "notes-mel",
    out: Out = None,
    midi: Midi = None,
    count: Count = 10,
    seed: LatentSeed = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write notes that a small network makes.

    A generator of notes after Nistal et al. 2020, trained briefly: an experiment, no instrument.
    """
    from plc.engine.models.catalogue import find
    from plc.engine.models.kinds import KINDS, opener

    player = opener(KINDS["notes"].generator)(find(model))
    write(player, way, out, midi, count, seed, overwrite, as_json)


def write(
    player: "Player",
    way: str,
    out: Path | None,
    midi: Path | None,
    count: int,
    seed: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the sounds of a generator, and print their files.

    Raises
    ------
    ConfigError
        If a MIDI file is missing, or given to a way that takes none.
    AudioFileError, MissingExtraError, ModelError
        If a file cannot be read or written, ``mido`` is missing, or the network answers wrongly.
    """
    import numpy as np

    from plc.papers.note_player import WAYS, perform_midi, write_sound, write_sounds
    from plc.whole_files import check_new

    if (way == "from-midi") != (midi is not None):
        raise ConfigError(
            "from-midi needs --midi FILE"
            if midi is None
            else f"{way} takes no --midi; only from-midi does"
        )
    if midi is None:
        folder = out or Path("notes")
        if folder.is_file():
            raise ConfigError(f"--out {folder} is a file; {way} writes a folder of WAV files")
        sounds = WAYS[way](player, count, np.random.default_rng(seed))
        paths = write_sounds(player, sounds, folder, overwrite)
        if as_json:
            print_json({"files": paths})
        for path in () if as_json else paths:
            say(path)
        return
    target = out or Path("notes.wav")
    check_new(target, overwrite)
    played = perform_midi(player, midi, seed)
    write_sound(target, played.samples, player.sample_rate)
    seconds = played.samples.size / player.sample_rate
    if as_json:
        counts = {name: getattr(played, name) for name in ("notes", "transposed", "skipped")}
        print_json({"file": target, "seconds": seconds, **counts, "drums": played.drums})
        return
    say(f"{target}: {_told(played)}, {seconds:.1f} s")


def _told(played: "Performance") -> str:
    parts = [counted(played.notes, "note")]
    if played.transposed:
        parts.append(f"{played.transposed} of them moved by octaves")
    if played.skipped:
        parts.append(f"{counted(played.skipped, 'note')} out of range left out")
    if played.drums:
        parts.append(f"{counted(played.drums, 'drum')} left out")
    return ", ".join(parts)
