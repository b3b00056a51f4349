"""The engine in a browser: a page, and a module for pages of others; served, or in a folder.

::

    plc/data/web/plc.wasm      the compiled step, as ``plc_kernels`` has it
                 plc.mjs       its streams: the module, which the page uses, too
                 worklet.mjs   the AudioWorklet: cuts its input into packets, plays the worker's
                 worker.mjs    the engine: loses packets, conceals (lanes, losses, measure)
                 page.mjs      controls, sources, pictures, figures, what is saved
                 index.html    what all of that is put into, with the bundled recordings
                 plc.html      what the module's documentation is put into, with example.mjs

The page is one file without references, so that it also works from a disk: there a browser lets a
page read no file beside it. Scripts are joined here, by their import lines. Worklet and worker go
in as text, WebAssembly and recordings as base64; WebAssembly stands in the module for others, too.
Policies name scripts by their hashes and permit connections to the page's own server alone: for the
networks, files beside the page, which are made here of the models that ship.
"""

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Self

from plc.ending import stop_signals
from plc.errors import AudioFileError, why
from plc.transport.rtp.udp import Endpoint
from plc.transport.service.page_server import PageServer
from plc.whole_files import check_new, write_whole

DEFAULT_PORT = 8765
NETWORKS = {
    "speech": "speech, from 16 kHz on",
    "speech-narrowband": "speech below 16 kHz",
    "music": "music, from 16 kHz on",
    "speech-bridge": "gaps in speech whose end is known, up to 48 kHz",
}
"""The models that pages fetch, from files of these names beside them, and what they are for."""
_IMPORT = re.compile(r'^import .* from "\./(\w+)\.mjs";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const|class|function|async)", re.MULTILINE)
# What stands in the module's place for WebAssembly.
_NO_ENGINE = 'const ENGINE = "";'
_SCRIPT = "text/javascript; charset=utf-8"
# Stands in every page of ours.
_OWN_PAGE = "<title>plc in the browser</title>"
_POLL_S = 0.1
_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WebFile:
    """A file that a server or a folder gives: its media type, its bytes, made once, and its use."""

    kind: str
    make: Callable[[], bytes]
    use: str


@cache
def page() -> bytes:
    """Return the page: one HTML file, UTF-8, without references to others."""
    return _filled(
        "index.html",
        script=_joined("page"),
        worklet=_joined("worklet"),
        worker=_joined("worker"),
        wasm=_base64("web/plc.wasm"),
        music=_base64("music.flac"),
        speech=_base64("speech.flac"),
    )


@cache
def module() -> bytes:
    """Return the module for pages of others: one file with the compiled step in it."""
    engine = f'const ENGINE = "{_base64("web/plc.wasm")}";'
    return _text("plc.mjs").replace(_NO_ENGINE, engine).encode()


@cache
def manual() -> bytes:
    """Return the module's documentation, with an example that runs in it."""
    return _filled("plc.html", script=_text("example.mjs"))


@cache
def network(name: str = "speech") -> bytes:
    """Return a network's file, which lies beside the page.

    Raises
    ------
    ModelError
        If its files in the package are not sound.
    """
    from plc.embed.models import model_file
    from plc.engine.models.catalogue import find

    return model_file(find(name)) or b""


def _raw(name: str) -> bytes:
    return _text(name).encode()


def package() -> bytes:
    """Return npm's ``package.json``: the module, the node, their types and the networks."""
    from plc import __version__

    exports: dict[str, Any] = {
        place: {"types": f"./{name}.d.mts", "default": f"./{name}.mjs"}
        for place, name in ((".", "plc"), ("./node", "plc-node"))
    }
    described = {
        "name": "plc-engine",
        "version": __version__,
        "description": "Packet-loss concealment for live music and speech",
        "license": "MIT",
        "type": "module",
        "exports": exports | {"./*": "./*"},
        "files": ["README.md", "plc.*", "plc-*", "*.plcm"],
    }
    return f"{json.dumps(described, indent=2)}\n".encode()


FILES = {
    "index.html": WebFile(
        kind="text/html; charset=utf-8",
        make=page,
        use="the page: put all files on a web server, or open this one from the folder",
    ),
    **{
        f"{name}.plcm": WebFile(
            kind="application/octet-stream",
            make=partial(network, name),
            use=f"a network for {serves}: page and module fetch it from beside them when asked",
        )
        for name, serves in NETWORKS.items()
    },
    "plc.mjs": WebFile(
        kind=_SCRIPT,
        make=module,
        use="the engine for pages of yours: import { Concealer, fetchModel } from it",
    ),
    "plc.html": WebFile(
        kind="text/html; charset=utf-8",
        make=manual,
        use="its documentation, with an example that runs (from a server)",
    ),
    **{
        name: WebFile(kind=kind, make=partial(_raw, name), use=use)
        for name, kind, use in (
            ("plc-node.mjs", _SCRIPT, "an AudioWorkletNode that plays pieces with time stamps"),
            ("plc-worker.mjs", _SCRIPT, "the engine of the node, in a worker"),
            ("plc-processor.mjs", _SCRIPT, "the node's side in the audio thread"),
            ("plc.d.mts", "text/plain; charset=utf-8", "types of plc.mjs, for TypeScript"),
            ("plc-node.d.mts", "text/plain; charset=utf-8", "types of plc-node.mjs"),
            ("README.md", "text/markdown; charset=utf-8", "how projects take the package"),
        )
    },
    "package.json": WebFile(
        kind="application/json",
        make=package,
        use="makes the folder a package for npm: npm install DIR, or npm pack",
    ),
}
"""What is beside each other on a server or in a folder, by name."""


def policy(script: str | None = None) -> str:
    """Return the content security policy of a page with this script of its own.

    That of the page itself has ``strict-dynamic``, which lets that script, and nothing else, load
    the worklet from a text, and permits workers made of texts. Other pages import the module from
    their server.
    """
    others = "'strict-dynamic'" if script is None else "'self'"
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(script or _joined('page'))} {others} 'wasm-unsafe-eval'",
            *(["worker-src blob:"] if script is None else []),
            f"style-src {_hash(_text('page.css'))}",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def export(folder: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write the page into a folder, and beside it the networks and the module.

    Return the paths of :data:`FILES`, the page first.

    Parameters
    ----------
    folder : str or Path, made if it does not exist
    overwrite : bool
        Whether files may be replaced in a folder without this page.

    Raises
    ------
    AudioFileError
        If one of the files is there without this page, or cannot be written.
    ModelError
        If a network's files in the package are not sound.
    """
    written = [Path(folder) / name for name in FILES]
    path = written[0]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        renews = overwrite or (path.exists() and _OWN_PAGE.encode() in path.read_bytes())
    except OSError as error:
        raise AudioFileError(f"cannot write {path}: {why(error)}") from error
    for path in written:
        check_new(path, renews)
    for path, file in zip(written, FILES.values(), strict=True):
        write_whole(path, file.make())
    return written


class WebServer:
    """Serves the page at ``/``, and :data:`FILES`, until closed, from a thread of its own.

    Parameters
    ----------
    port : int, 0 takes any that is free

    Attributes
    ----------
    url : str, where the page is

    Raises
    ------
    NetworkError
        If the port is taken.
    """

    def __init__(self, port: int = DEFAULT_PORT) -> None:
        page()
        made = {
            f"/{name}": lambda _, file=file: (200, file.kind, file.make())
            for name, file in FILES.items()
        }
        pages = {"/": made["/index.html"], **made}
        self._server = PageServer(
            Endpoint("127.0.0.1", port), pages, what="the page", limit_s=_LIMIT_S, fields=_fields
        )
        self.url = f"http://127.0.0.1:{self._server.endpoint.port}/"

    def close(self) -> None:
        """Stop serving."""
        self._server.close()

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self.close()


def run_web(port: int, *, duration_s: float, announce: Callable[[str], None]) -> None:
    """Serve the page until a signal, or for some time.

    Parameters
    ----------
    port : int, as for :class:`WebServer`
    duration_s : float
        End after this time; may be ``inf``.
    announce : callable
        Called with the line that says where the page is.
    """
    with stop_signals() as signals, WebServer(port) as server:
        announce(f"listening at {server.url}; Ctrl-C ends it")
        end_s = time.monotonic() + duration_s
        while not signals and time.monotonic() < end_s:
            time.sleep(min(_POLL_S, max(0.0, end_s - time.monotonic())))


_FIELDS = {
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    # Alone in its process the page gets a finer clock.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}


def _fields(path: str) -> str:
    """Return the header lines of an answer: the policies by which a browser uses a file."""
    own = policy(_text("example.mjs")) if path == "/plc.html" else policy()
    lines = _FIELDS | {"Content-Security-Policy": f"{own}; frame-ancestors 'none'"}
    return "".join(f"{name}: {text}\r\n" for name, text in lines.items())


def _filled(name: str, *, script: str, **values: str) -> bytes:
    from plc import __version__

    given = policy(None if name == "index.html" else script)
    text = Template(_text(name)).substitute(
        values, policy=escape(given), style=_text("page.css"), script=script, version=__version__
    )
    return text.encode()


def _joined(entry: str) -> str:
    """Return a script joined with all its imports, imports first."""
    parts: dict[str, str] = {}

    def add(name: str) -> None:
        text = _text(f"{name}.mjs")
        for imported in _IMPORT.findall(text):
            if imported not in parts:
                add(imported)
        parts[name] = _EXPORT.sub("", _IMPORT.sub("", text))

    add(entry)
    # The worker is no module: a browser makes none of a text in a page from a disk.
    script = "".join(parts.values()).replace("import.meta.url", "location.href")
    assert "import " not in re.sub(r"//.*", "", script)
    assert "</script" not in script
    return script


@cache
def _text(name: str) -> str:
    return (files("plc") / "data" / "web" / name).read_text(encoding="utf-8")


def _base64(name: str) -> str:
    return base64.b64encode((files("plc") / "data" / name).read_bytes()).decode()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
