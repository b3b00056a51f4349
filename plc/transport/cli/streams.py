"""A relay's streams in a TOML file, and commands to change them.

A file has a table for each stream, with the options of ``plc relay`` by their names, and one of
defaults for all::

    control = "/run/plc/relay.sock"       # --control
    metrics = "0.0.0.0:9464"              # --metrics

    [defaults]
    codec = "l24"
    channels = 2
    packet_ms = 1

    [[stream]]
    name = "studio"
    listen = ["udp://239.1.1.1:5004?interface=eth0", "udp://239.2.1.1:5004?interface=eth1"]
    to = "udp://192.0.2.9:5006"
"""

import dataclasses
import stat
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plc.cli.options import AsJson
from plc.cli.output import print_json, say
from plc.transport.cli.options import RelayedOptions, dscp_of, safety_of

if TYPE_CHECKING:
    from plc.transport.relay.relayed import RelayConfig

_OF_RELAY = {"control": str, "metrics": str, "log_json": bool}
_OF_STREAM = ("name", "listen", "to")
_OPTIONS = tuple(field.name for field in dataclasses.fields(RelayedOptions))
_FILE_BYTES_MAX = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class RelayFile:
    """Content of a relay's file.

    Attributes
    ----------
    streams : list of RelayConfig, the streams
    settings : dict
        Of the relay itself: ``control``, ``metrics``, ``log_json``, where they are given.
    """

    streams: list["RelayConfig"]
    settings: dict[str, Any]


def read_relay_file(path: Path) -> RelayFile:
    """Return the settings of a TOML file; raise ConfigError for an error."""
    from plc.errors import ConfigError

    tables, settings = read_tables(path)
    streams = [stream_of(table, f"{path}: stream {n}") for n, table in enumerate(tables, 1)]
    names = [stream.name for stream in streams]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{path}: two streams are called {name}; give each a name")
    return RelayFile(streams, settings)


def read_tables(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a file's tables of streams and the relay's settings."""
    from plc.errors import ConfigError, check_settings

    try:
        content = tomllib.loads(_content_of(path).decode())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # TOML's, and UTF-8's
        raise ConfigError(f"{path} is not TOML: {error}") from error
    defaults, tables = content.pop("defaults", {}), content.pop("stream", None)
    says_nothing = tables is None
    tables = [] if says_nothing else tables
    is_list = isinstance(tables, list) and all(isinstance(table, dict) for table in tables)
    if not is_list or not isinstance(defaults, dict):
        raise ConfigError(f"{path}: expected tables [[stream]], and at most one [defaults]")
    check_settings(f"{path}: [defaults]", defaults, (*_OPTIONS, "to"))
    check_settings(str(path), content, tuple(_OF_RELAY))
    for name, value in content.items():
        if not isinstance(value, _OF_RELAY[name]):
            raise ConfigError(f"{path}: {name} is {value!r}; give a {_OF_RELAY[name].__name__}")
    if says_nothing:
        raise ConfigError(
            f"{path} names no stream; give tables [[stream]], or stream = [] for none"
        )
    return [defaults | table for table in tables], content


def _content_of(path: Path) -> bytes:
    """Return the whole content of a regular file; raise for others."""
    from plc.errors import ConfigError

    if not stat.S_ISREG(path.stat().st_mode):
        raise ConfigError(f"{path} is not a file; give one in TOML")
    with path.open("rb") as file:
        content = file.read(_FILE_BYTES_MAX + 1)
    if len(content) > _FILE_BYTES_MAX:
        raise ConfigError(f"{path} has more than {_FILE_BYTES_MAX} bytes, the most that are read")
    return content


def stream_of(table: dict[str, Any], where: str = "stream") -> "RelayConfig":
    """Return the stream that a table describes; ``where`` it stands is said in errors.

    Raises
    ------
    ConfigError
        If a name is unknown, or a value wrong.
    """
    import msgspec

    from plc.errors import ConfigError, PlcError, check_settings, printable

    check_settings(where, table, (*_OF_STREAM, *_OPTIONS))
    listen, to = table.get("listen"), table.get("to")
    paths = [listen] if isinstance(listen, str) else listen
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise ConfigError(f'{where}: give listen = "udp://HOST:PORT", or a list of two paths')
    if not isinstance(to, str):
        raise ConfigError(f'{where}: give to = "udp://HOST:PORT", or a file')
    name = table.get("name", ",".join(paths))
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{where}: name is {name!r}; give a text")
    for text in (name, to, *paths):
        lone = text.encode(errors="replace").decode() != text  # surrogates, which no coding has
        if lone or printable(text) != text:
            raise ConfigError(f"{where}: {text!r} has control characters; omit them")
    given = {key: value for key, value in table.items() if key not in _OF_STREAM}
    try:
        if "safety" in given:
            given["safety"] = safety_of(given["safety"])
        if "dscp" in given:
            given["dscp"] = dscp_of(given["dscp"])
        options = msgspec.convert(given, RelayedOptions)
        return options.relayed(",".join(paths), to, name=name)
    except msgspec.ValidationError as error:
        said = str(error).replace(" - at `$.", ": `")
        raise ConfigError(f"{where}: {said}") from None
    except (PlcError, typer.BadParameter) as error:
        said = error.message if isinstance(error, typer.BadParameter) else str(error)
        raise ConfigError(f"{where}: {said}") from error


# ---- commands -----------------------------------------------------------------------------------

streams = typer.Typer(
    name="streams", help="The streams of a running relay (plc relay --control).",
    no_args_is_help=True,
)  # fmt: skip

Control = Annotated[
    Path,
    typer.Option(metavar="PATH", envvar="PLC_CONTROL", help="Socket of the relay's --control."),
]


@streams.command("list")
def list_streams(control: Control, as_json: AsJson = False) -> None:
    """List the streams of a running relay."""
    from plc.transport.service.control import request

    found = request(control, do="list")
    if as_json:
        print_json(found)
        return
    for each in found:
        say(
            f"{each['name']}: {each['state']}, {', '.join(each['listen'])} -> {each['to']} "
            f"({each['codec']}), {each['packets_received']} packets in, {each['lost_packets']} lost"
        )


@streams.command("add")
def add_streams(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="TOML file, as for plc relay --config.")
    ],
    control: Control,
) -> None:
    """Add the streams of a file to a running relay."""
    from plc.transport.service.control import request

    read_relay_file(source)  # what is wrong is said before anything is added
    for table in read_tables(source)[0]:
        say(f"added {request(control, do='add', stream=table)}")


@streams.command("remove")
def remove_stream(
    name: Annotated[str, typer.Argument(help="Name of the stream, as plc streams list has it.")],
    control: Control,
    as_json: AsJson = False,
) -> None:
    """Play a stream to its end, and remove it."""
    from plc.transport.service.control import request

    report = request(control, do="remove", name=name)
    print_json(report) if as_json else say(f"removed {name}")


@streams.command("reload")
def reload_streams(control: Control, as_json: AsJson = False) -> None:
    """Let a running relay read its --config again; unchanged streams go on."""
    from plc.transport.service.control import request

    done = request(control, do="reload")
    print_json(done) if as_json else say(in_words(done))
    if done["failed"]:
        raise typer.Exit(1)


def in_words(done: dict[str, Any]) -> str:
    """Return the outcome of a reload for the streams, as a line."""
    said = [f"{len(done[what])} {what}" for what in ("added", "removed", "changed", "kept")]
    said += [f"{name} failed: {why}" for name, why in done["failed"].items()]
    return ", ".join(said)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.add_typer(streams, rich_help_panel="Live and on the wire")
