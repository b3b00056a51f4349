"""``plc train`` and ``plc export``.

Each command parses, calls one function, prints. What they need is imported inside, so that
``--help`` answers at once. Results go to stdout, progress to stderr.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from plc_training.command import default_cache, run_command

STOPPED = 130
"""Status after Ctrl-C, as a shell has it."""

app = typer.Typer(
    name="plc",
    help="Train networks and export them as models.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command()
def train(
    recipe: Annotated[
        str, typer.Argument(help="Name of a recipe in the package, or path of a .toml file.")
    ],
    data: Annotated[
        list[Path],
        typer.Option(help="Folder of audio, with or without a manifest.csv of splits; may repeat."),
    ],
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            "--run-dir",  # torchrun takes --run for the beginning of its own --run-path
            help="Folder of the run; if there is one in it, it goes on.",
            show_default="runs/RECIPE",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder for decoded audio and segments.", show_default="the user's cache folder"
        ),
    ] = None,
    domain: Annotated[
        str, typer.Option(help="What a folder without a manifest.csv holds: music, speech, …")
    ] = "any",
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0 is one for each core.")] = 0,
    devices: Annotated[
        int, typer.Option(min=0, help="Devices; 0 is one or, under torchrun, its processes.")
    ] = 0,
    accelerator: Annotated[
        Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="What to train on.")
    ] = "auto",
    threads: Annotated[int, typer.Option(min=0, help="Of a CPU; 0 is torch's choice.")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Instead of the recipe's, for a trial.")
    ] = None,
) -> None:
    """Train as a recipe says: decode, prepare segments, train, keep the best weights.

    plc train two_sided --data CORPUS

    torchrun --nproc-per-node 2 -m plc_training train two_sided --data CORPUS
    """
    import torch

    from plc_training.train.loop import Reason
    from plc_training.train.recipe import read_recipe
    from plc_training.train.run import Place, run_recipe

    if threads:
        torch.set_num_threads(threads)
    chosen = read_recipe(recipe).with_steps(steps)
    name = chosen.name if steps is None else f"{chosen.name}-{steps}"
    place = Place(
        data=tuple(data),
        folder=run or Path("runs") / name,
        cache=cache or default_cache(),
        jobs=jobs or _cores(),
        domain=domain,
    )
    ending = run_recipe(
        chosen, place, devices or int(os.environ.get("LOCAL_WORLD_SIZE", "1")), accelerator
    )
    if ending is None:
        return
    progress = ending.progress
    typer.echo(f"step {progress.step} of {chosen.schedule.steps}: {ending.reason.value}")
    if progress.best_step:
        typer.echo(
            f"best figure: {progress.best:.3f} at step {progress.best_step}\n"
            f"next: plc export {place.folder}"
        )
    if ending.reason is Reason.STOPPED:
        raise typer.Exit(STOPPED)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run of plc train.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to.", show_default="the run's")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the model.", show_default="the recipe's")
    ] = None,
    figures: Annotated[
        list[str] | None,
        typer.Option(
            "--figure", metavar="NAME=VALUE", help="A figure for the manifest; many times."
        ),
    ] = None,
) -> None:
    """Write a run's best weights as a model: ONNX and manifest, compared with torch first."""
    from plc_training.export import export_run

    made = export_run(run, out or run, name, dict(map(_figure, figures or [])))
    model = made.manifest
    typer.echo(
        f"{model.onnx_path}: {model.bytes / 1e6:.2f} MB, {model.parameters} parameters, opset "
        f"{model.opset}, {'any number of' if made.free_frames else 'a fixed number of'} frames\n"
        f"torch and ONNX Runtime differ by {made.parity:.1e} of the largest output\n"
        f"one segment takes {made.run_ms:.2f} ms on one thread"
    )
    for figure, (ours, theirs) in made.figures.items():
        typer.echo(f"{figure}: {theirs:.3f} (torch: {ours:.3f}), on the run's probe")


def main() -> None:
    """Run the command; an error of ours becomes one line on stderr."""
    run_command("plc", app)


def _figure(text: str) -> tuple[str, float]:
    name, separator, value = text.rpartition("=")
    try:
        if not separator or not name.strip():
            raise ValueError
        return name.strip(), float(value)
    except ValueError:
        raise typer.BadParameter(
            f"{text} is no NAME=VALUE, such as 'test SNR_MS music=9.1'", param_hint="--figure"
        ) from None


def _cores() -> int:

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
