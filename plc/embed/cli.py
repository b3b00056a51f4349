"""The commands for other programs: ``plc c``, ``plc gstreamer``, ``plc inside``.

As in :mod:`plc.programs.cli.app`: parse, call one function, print its result; everything heavy is
imported inside. ``register`` adds them to the command.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from plc.cli.options import examples
from plc.cli.output import say

c = typer.Typer(name="c", help="The engine as a C library.", no_args_is_help=True)


@c.command(
    "build",
    epilog=examples(
        "plc c build --out build",
        "plc c build --prefix $HOME/.local              for pkg-config and CMake",
        'cc examples/c/conceal.c -o conceal -Ibuild -Lbuild -lplc -Wl,-rpath,"$PWD/build"',
        "plc c build --out pi --target aarch64          for a Raspberry Pi",
        "plc c build --out page --target wasm32         plc.wasm, for browsers",
        "plc c build --prefix win --target windows      plc.dll, made on Linux",
    ),
)
def build(
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for all files beside each other.")
    ] = None,
    prefix: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Install instead: into include and lib of this folder."),
    ] = None,
    target: Annotated[
        Literal["host", "x86_64", "aarch64", "wasm32", "windows", "musl"],
        typer.Option(help="Processors to build for; host: this one's family; or a system."),
    ] = "host",
) -> None:
    """Build libplc: the engine as a C library that needs no Python.

    DIR gets libplc.so, libplc.a, plc.h, plc.pc, plc_ladspa.so (a plugin that conceals dropouts) and
    libplc_inside.so (for plc inside), or plc.wasm; a prefix also what CMake reads. For x86_64 there
    is code for x86-64-v2, v3 and v4 in one library. It needs gcc; from other processors
    gcc-aarch64-linux-gnu for aarch64, lld for wasm32. windows (x86-64) makes plc.dll and
    libplc.dll.a by gcc-mingw-w64-x86-64, musl a library for Alpine and OpenWrt by musl-tools. See
    docs/embedding.md.
    """
    from plc.embed.library import build_library

    folder = out or prefix
    if folder is None or (out and prefix):
        raise typer.BadParameter(
            "give one of them: --out for a folder of its own, --prefix to install",
            param_hint="--out / --prefix",
        )
    built = build_library(
        folder, target, lambda line: say(f"plc: {line}", err=True), prefix=prefix is not None
    )
    for path in built.files:
        say(path)
    if built.flags:
        say(f"{built.compiler} program.c {built.flags}")


@c.command(
    "models",
    epilog=examples(
        "plc c models --out models",
        "plc c models runs/mine/mine.json --out models",
        "./conceal damaged.wav heard.wav --trace lost.trace --models models/all.plcm",
    ),
)
def models(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files.")],
    given: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="Models, or their manifests; else the package's."),
    ] = None,
) -> None:
    """Write networks that libplc and pages can run, each as one file for plc_model_load.

    They are those of streams: NAME.plcm, as "plc models" names them, and all.plcm, which holds them
    one after another: a stream takes those that are for its rate, its content and its lookahead.
    """
    from plc.embed.models import write_models

    for path in write_models(out, given or ()):
        say(path)


gstreamer = typer.Typer(
    name="gstreamer", help="The element plcconceal for GStreamer.", no_args_is_help=True
)

Folder = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="DIR",
        help="A folder that GST_PLUGIN_PATH names.",
        show_default="the user's",
    ),
]


@gstreamer.command("install")
def install_element(folder: Folder = None) -> None:
    """Build plcconceal for GStreamer, with libplc and the networks, and check it.

    It needs a C compiler, pkg-config, libgstreamer1.0-dev and libgstreamer-plugins-base1.0-dev.
    """
    from plc.embed.gstreamer import install

    _print_found(install(folder, lambda line: say(f"plc: {line}", err=True)))


@gstreamer.command("check")
def check_element(folder: Folder = None) -> None:
    """Check whether GStreamer finds plcconceal; if not, say why."""
    from plc.embed.gstreamer import check

    _print_found(check(folder))


def _print_found(file: Path) -> None:
    say(f"{file}: GStreamer finds plcconceal")


def inside(
    command: Annotated[
        list[str], typer.Argument(metavar="PROGRAM [ARGUMENTS]…", help="Program to start.")
    ],
    models: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Networks of plc c models.", show_default="the package's"
        ),
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="Say at its end what was made up.")] = False,
) -> None:
    """Start a program with libplc in its decoders: Opus, and spandsp's calls.

    Losses that it asks libopus or spandsp to conceal are made up here; the program stays as it is.
    It is for Linux, and programs that load these as shared libraries: docs/start/inside.md.
    """
    from plc.embed.inside import start

    start(command, models, log, lambda line: say(f"plc: {line}", err=True))


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    panel = "For other programs"
    app.command(
        rich_help_panel=panel,
        context_settings={"allow_interspersed_args": False},
        epilog=examples(
            "plc inside --log opusdec --packet-loss 10 voice.opus heard.wav",
            "plc inside baresip                             calls, with losses made up here",
        ),
    )(inside)
    app.add_typer(c, rich_help_panel=panel)
    app.add_typer(gstreamer, rich_help_panel=panel)
