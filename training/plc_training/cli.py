"""The commands ``plc train`` and ``plc export``.

Each command parses, calls one function and prints. Imports stand inside the commands, so that
``--help`` answers at once. Results go to stdout, progress to stderr.
"""

import os
import sys
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from plc.cli.options import HELP
from plc.cli.output import say
from plc.errors import ConfigError, PlcError, printable
from plc.processor_time import usable_cores
from plc_kernels.build.own_folder import cache_root

Libraries = Annotated[
    list[Path],
    typer.Option(
        "--data", help="Folder of audio, with or without a manifest.csv of splits; may repeat."
    ),
]


class _TwoWords(TyperGroup):
    """Commands of two words, such as ``train debian``, beside commands of one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command with the longest matching name."""
        if " ".join(args[:2]) in self.commands:
            args = [" ".join(args[:2]), *args[2:]]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="plc",
    cls=_TwoWords,
    help="Train networks and export them as models.",
    no_args_is_help=True,
    context_settings=HELP,
    add_completion=False,
)


@app.command()
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="Name of a recipe in the package, or path of a .toml file."
        ),
    ] = "",
    data: Libraries = [],  # noqa: B006  # looked at after the recipe, whose names are said first
    run: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder of the run; a run that it holds continues.",
            show_default="runs/RECIPE",
        ),
    ] = None,
    domain: Annotated[
        str, typer.Option(help="Content of folders without a manifest.csv: music, speech, …")
    ] = "any",
    accelerator: Annotated[
        Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Kind of device.")
    ] = "auto",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of a trial, instead of the recipe's.")
    ] = None,
) -> None:
    """Train a network by a recipe, and keep the best weights; without one list recipes.

    plc train inpaint --data CORPUS

    torchrun --nproc-per-node 2 -m plc_training train inpaint --data CORPUS

    Ctrl-C stops with a checkpoint; the same command continues.
    Afterwards: plc export.

    Sub-commands, each with its own --help:
    plc train debian (fetch free audio from Debian packages),
    plc train notes (render single notes from a soundfont),
    plc train fit (train the small networks of the package),
    plc train papers (compare and score networks of papers).

    Decoded audio and segments are kept in the user's cache folder, or in
    PLC_CACHE_DIR.
    """
    if not recipe:
        for path in sorted((Path(__file__).parent / "recipes").glob("*.toml")):
            lines = takewhile(lambda line: line[:1] == "#", path.read_text("utf-8").splitlines())
            about = " ".join(line[2:] for line in lines).partition(". ")[0]
            say(f"{path.stem}: {about.rstrip('.')}")
        return
    from plc_training.train import recipe as recipes
    from plc_training.train import run as runs
    from plc_training.train.loop import Reason

    chosen = recipes.read_recipe(recipe).with_steps(steps)
    if not data:
        raise typer.BadParameter("name a folder of audio", param_hint="--data")
    name = chosen.name if steps is None else f"{chosen.name}-{steps}"
    place = runs.Place(
        data=tuple(data),
        folder=run or Path("runs") / name,
        cache=_cache(),
        jobs=usable_cores(),
        domain=domain,
    )
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # of torchrun
    ending = runs.run_recipe(chosen, place, devices, accelerator)
    if ending is None:
        return
    progress = ending.progress
    typer.echo(f"step {progress.step} of {chosen.schedule.steps}: {ending.reason.value}")
    if progress.best_step:
        typer.echo(
            f"best figure: {progress.best:.3f} (higher is better) at step {progress.best_step}\n"
            f"next: plc export {printable(place.folder)}"
        )
    if ending.reason is Reason.STOPPED:
        raise _stopped()


@app.command("train debian")
def debian(
    domains: Annotated[list[str], typer.Argument(help="speech, music, or both.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("debian-audio"),
) -> None:
    """Fetch Debian packages of speech or music, with a manifest.csv.

    plc train debian speech music --out DEBIAN

    plc train RECIPE --data CORPUS --data DEBIAN

    Games, children's software and telephone systems hold hours of both under
    free licences. The packages (2 GB) are downloaded with apt-get and unpacked
    with dpkg; nothing is installed. All files belong to the training split.
    Telephone prompts are coded in G.722, which needs the extra "media".
    Packages that are already in the folder are not fetched again.
    """
    from plc_training.data.debian import gather

    for name, files in gather(domains, out, lambda line: say(line, err=True)).items():
        say(f"{name}: {files} files")


@app.command("train notes")
def notes(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("notes-audio"),
    programs: Annotated[
        str, typer.Option(help="Programs of General MIDI: 0-127, or a list by comma.")
    ] = "0-127",
    pitches: Annotated[str, typer.Option(help="MIDI pitches, written alike.")] = "24-84",
    every: Annotated[
        int,
        typer.Option(help="Each program plays one in this many pitches, the next the next ones."),
    ] = 1,
    valid: Annotated[
        str, typer.Option(help="Programs that validate.", show_default="one in ten")
    ] = "",
    gain: Annotated[float, typer.Option(help="FluidSynth's; 1 is five times its own.")] = 0.2,
) -> None:
    """Render single notes from a soundfont, with their pitches.

    plc train notes --out NOTES

    plc train notes_complex --data NOTES

    Notes of 4 s in three velocities, as NSynth has them: a FLAC file for each
    program, a manifest.csv in which some programs validate, and a notes.csv.
    All are 26 hours (2 GB at 16 kHz), in half an hour of one core.
    Programs that other libraries test with are left out by --programs.
    Needs: apt-get install fluidsynth fluid-soundfont-gm
    """
    from plc.cli import progress
    from plc_training.data.soundfont import Notes, render_notes

    wanted = Notes(
        programs=_ranges("programs", programs),
        pitches=_ranges("pitches", pitches),
        every=every,
        valid=_ranges("valid", valid) if valid else (),
        gain=gain,
    )
    with progress.shown("programs", len(wanted.programs)) as meter:
        made = render_notes(wanted, out, meter.advance)
    typer.echo(f"{sum(made.values())} notes in {len(made)} files of {printable(out)}")


_NETWORKS = Literal["content", "contour"]


@app.command("train fit")
def fit(
    network: Annotated[_NETWORKS, typer.Argument(help="One of those below.")],
    data: Libraries,
    out: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="contour.npz")
    ] = None,
) -> None:
    """Train a small network of the package: content or contour.

    plc train fit content --data CORPUS --data DEBIAN

    plc train fit contour --data CORPUS --out contour.npz

    content tells speech from music: the libraries hold both, named by the
    column "domain" of their manifest.csv. Printed are the share of frames of
    the validation split that is told to be speech, and PACKED of
    plc_kernels/signal/content.py, which is its only result.

    contour predicts the pitch contour of a voice, from speech in the splits
    "train" and "valid". Printed are errors in cents, beside those of a
    constant pitch. The engine reads plc/data/contour.npz.
    """
    from plc_training.fits import content, contour

    if network == "content":
        if out is not None:
            raise typer.BadParameter("content is printed, not written", param_hint="--out")
        content.fit(data, _cache(), typer.echo)
    else:
        contour.fit(data, out or Path("contour.npz"), _cache(), typer.echo)


_COMPARISONS = Literal["restored", "restorers", "contexts", "judged"]


@app.command("train papers")
def papers(
    what: Annotated[_COMPARISONS, typer.Argument(help="One of those below.")],
    runs: Annotated[list[Path] | None, typer.Argument(help="Folders of runs.")] = None,
    data: Libraries = [],  # noqa: B006  # not changed
    unseen: Annotated[
        list[Path] | None, typer.Option(help="Folder of clips that are not trained on; may repeat.")
    ] = None,
    seen: Annotated[
        list[Path] | None, typer.Option(help="Folder of clips that were trained on; may repeat.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the runs, one for each network; those it holds go on.",
            show_default="runs/WHAT",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Most pieces of a clip, or notes of an origin.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(metavar="PNG", help="Picture to draw.")] = None,
) -> None:
    """Compare and score the networks of papers.

    plc train papers restored runs/restore_unet_v2 --unseen CORPUS/music/test

    Scores restorers of damaged spectrograms, or of strokes in speech: gains in
    dB by the share of lost frames, or errors of strokes; draws a patch.

    plc train papers restorers --data CORPUS --unseen CORPUS/music/test

    Trains all restorers briefly: gains in dB over the damaged patch and lines.

    plc train papers contexts RUN --data CORPUS --unseen CLIPS --picture PNG

    Trains small networks for gaps and contexts of speech: errors over the
    context and in training; draws those of all methods over the gap, by RUN.

    plc train papers judged runs/notes_* --data NOTES --unseen UNSEEN

    Trains judges of pitch and instrument on NOTES: the share of notes in tune,
    inception scores, kernel and Fréchet distances to one half of UNSEEN; beside
    them the other half, NOTES and sines; draws a scale that each run plays.
    FAD needs: pip install --no-deps basic-pitch

    Intervals are 95 %, over works or clips.
    """
    from plc_training.papers import judged, restored, strokes
    from plc_training.papers.comparison import Asked
    from plc_training.train.run import Place

    chosen = {
        "restored": restored.RESTORED,
        "restorers": restored.ALL_RESTORERS,
        "contexts": strokes.CONTEXTS,
        "judged": judged.JUDGED,
    }[what]
    asked = Asked(
        place=Place(data=tuple(data), folder=out or Path("runs") / what, cache=_cache()),
        names=chosen.names,
        runs=tuple(runs or ()),
        unseen=tuple(unseen or ()),
        seen=tuple(seen or ()),
        count=count,
        picture=picture,
    )
    trains = chosen.names
    wanted = {"RUNS": bool(runs) or bool(trains), "--data": bool(data) or what == "restored"}
    for name, is_there in (wanted | {"--unseen": bool(unseen)}).items():
        if not is_there:
            raise typer.BadParameter(f"{what} needs them", param_hint=name)
    if not trains and (out or steps):
        raise typer.BadParameter(f"{what} trains no networks: without --out, --steps")
    if not chosen.train(asked, steps):
        raise _stopped()
    for line in chosen.tell(asked):
        typer.echo(line)
    if picture is not None:
        say(f"picture: {picture}", err=True)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run of plc train.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to.", show_default="the run's")
    ] = None,
    figures: Annotated[
        list[str] | None,
        typer.Option("--figure", metavar="NAME=VALUE", help="Figure for the manifest; may repeat."),
    ] = None,
) -> None:
    """Write a run's best weights as a model: ONNX file and manifest.

    plc export runs/inpaint --out models

    Validation segments of the run are compared first: ONNX Runtime agrees with
    torch, or nothing is written.
    """
    from plc_training.export import export_run

    made = export_run(run, out or run, dict(map(_figure, figures or [])))
    model = made.manifest
    typer.echo(
        f"{printable(model.onnx_path)}: {model.bytes / 1e6:.2f} MB, {model.parameters} parameters, "
        f"opset {model.opset}, {'any number of' if made.free_frames else 'a fixed number of'} "
        "frames\n"
        f"torch and ONNX Runtime differ by {made.parity:.1e} of the largest output\n"
        f"one segment takes {made.run_ms:.2f} ms on one thread"
    )
    for figure, (ours, theirs) in made.figures.items():
        typer.echo(f"{figure}: {theirs:.3f} (torch: {ours:.3f}), on the run's probe")


def main() -> None:
    """Run the command; print a PlcError as one line on stderr."""
    try:
        app()
    except PlcError as error:
        say(f"plc: {' '.join(str(error).split())}", err=True)
        sys.exit(1)


def _stopped() -> typer.Exit:
    from plc_training.train.run import stopped_status

    return typer.Exit(stopped_status())


def _figure(text: str) -> tuple[str, float]:
    name, separator, value = text.rpartition("=")
    try:
        if not separator or not name.strip():
            raise ValueError
        return name.strip(), float(value)
    except ValueError:
        raise typer.BadParameter(
            f"{text} is not NAME=VALUE, such as 'test SNR_MS music=9.1'", param_hint="--figure"
        ) from None


def _cache() -> Path:
    return cache_root() / "training"


def _ranges(option: str, text: str) -> list[int]:
    numbers: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            numbers += range(int(first), int(last or first) + 1)
    except ValueError:
        raise ConfigError(f"--{option} is {text!r}; give numbers such as 0-7 or 0,12,40") from None
    return list(dict.fromkeys(numbers))
