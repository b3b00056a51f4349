"""The page of ``plc web``: built, served, exported; its parts run by node."""

import base64
import dataclasses
import fnmatch
import hashlib
import http.client
import itertools
import json
import math
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import Concealer, PlayoutBuffer
from plc.embed.models import SUFFIX, model_file
from plc.embed.wasm import SECTION, places
from plc.engine.loss import GilbertElliott
from plc.engine.models.catalogue import find
from plc.errors import AudioFileError
from plc.files.audio import read_audio
from plc.programs import web
from plc.transport.rtp.codecs import G711
from plc_kernels.network.layers import run_network
from plc_kernels.signal.burst import ERROR_SHARE
from plc_kernels.spectra.gap import Grid, hold_answer
from plc_kernels.stream import extend_music, gap, layout
from plc_kernels.stream import model as of
from plc_kernels.stream import model_file as stored
from plc_kernels.stream.tables import GRID_TABLE
from tests.examples import some
from tests.installed import needs_numba
from tests.kernels.stream.blocks import opened
from tests.plc.programs.cli.test_app import refusal, run
from tests.processes import ROOT, environment
from tests.signals import glide, noise, tones

HERE = Path(__file__).parent
DATA = Path(web.__file__).parents[1] / "data"
NODE = shutil.which("node")
CHECKS = (
    *("losses", "lanes", "switching", "worklet", "spectrum", "figures", "rungs", "refusals"),
    *("behind", "models", "damage", "fetching", "node", "playout", "prepare", "affords", "reset"),
    *("stream", "recorder"),
)
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed (Debian: nodejs)")


def text(name: str) -> str:
    return (DATA / "web" / name).read_text()


class Parts(HTMLParser):
    """The references, styles, scripts and data of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.texts: dict[str, str] = {}
        self.policy = ""
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.references += [str(given[name]) for name in ("src", "href") if given.get(name)]
        assert not any(name == "style" or name.startswith("on") for name in given)
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""
        if tag in ("script", "style"):
            self._open = given.get("id") or given.get("type") or tag
            self.texts[self._open] = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open] += data

    def handle_endtag(self, tag: str) -> None:
        self._open = ""


@pytest.fixture(scope="module")
def parts() -> Parts:
    return Parts(web.page().decode())


def test_the_page_refers_to_no_other_file(parts: Parts) -> None:
    licence = "https://creativecommons.org/licenses/by-sa/3.0/"
    assert set(parts.references) == {"data:,", licence}  # the icon, and links to read
    assert "@import" not in parts.texts["style"]
    assert "url(" not in parts.texts["style"]
    script = parts.texts["module"] + parts.texts["worklet"] + parts.texts["worker"]
    assert "import.meta" not in script  # a classic worker has none
    assert not re.search(r"\b(XMLHttpRequest|WebSocket|EventSource|sendBeacon)\b", script)
    assert set(re.findall(r"\bfetch\([^)]*\)", script)) == {"fetch(file)"}
    assert {f"{name}{SUFFIX}" for name in web.NETWORKS} == set(web.FILES) & {
        name for name in web.FILES if name.endswith(SUFFIX)
    }
    assert not re.search(r"innerHTML|insertAdjacentHTML|\beval\(|new Function", script)


def test_the_policy_names_script_and_style_and_permits_connections_to_its_server(
    parts: Parts,
) -> None:
    assert parts.policy == web.policy()
    rules = dict(rule.split(" ", 1) for rule in parts.policy.split("; "))
    assert rules["default-src"] == "'none'"
    for rule, part in (("script-src", "module"), ("style-src", "style")):
        digest = hashlib.sha256(parts.texts[part].encode()).digest()
        assert f"'sha256-{base64.b64encode(digest).decode()}'" in rules[rule].split()
    assert "unsafe-inline" not in parts.policy
    assert "'unsafe-eval'" not in parts.policy
    assert rules["connect-src"] == "'self'"
    assert rules["worker-src"] == "blob:"


def test_the_page_holds_the_step_and_the_recordings_as_they_are(parts: Parts) -> None:
    for part, name in (
        ("wasm", "web/plc.wasm"),
        ("clip-music", "music.flac"),
        ("clip-speech", "speech.flac"),
    ):
        assert base64.b64decode(parts.texts[part], validate=True) == (DATA / name).read_bytes()
    assert (DATA / "web/plc.wasm").stat().st_size <= 250_000


def test_the_page_names_the_authors_of_the_recordings() -> None:
    licence = (DATA / "LICENCE.md").read_text()
    for name in ("demonhill", "0zone0ne", "demo-instruct", "Allison Smith", "Digium", "CC-BY-SA-3"):
        assert name in licence
        assert name in web.page().decode()


# ---- the server ----------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[web.WebServer]:
    with web.WebServer(port=0) as opened:
        yield opened


def answer(server: web.WebServer, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    port = int(server.url.rstrip("/").rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path)
    response = connection.getresponse()
    found = response.status, {n.lower(): v for n, v in response.getheaders()}, response.read()
    connection.close()
    return found


def test_the_server_gives_the_page_the_network_and_nothing_else(server: web.WebServer) -> None:
    for path in ("/", "/index.html", "/?a=b"):
        status, headers, body = answer(server, "GET", path)
        assert (status, body) == (200, web.page())
        assert headers["content-type"] == "text/html; charset=utf-8"
        assert headers["content-security-policy"] == f"{web.policy()}; frame-ancestors 'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["server"] == "plc"
    status, headers, body = answer(server, "HEAD", "/")
    assert (status, int(headers["content-length"]), body) == (200, len(web.page()), b"")
    status, headers, body = answer(server, "GET", "/speech.plcm")
    assert (status, body) == (200, model_file(find("speech")))
    assert headers["content-type"] == "application/octet-stream"
    for name, file in web.FILES.items():
        status, headers, body = answer(server, "GET", f"/{name}")
        assert (status, headers["content-type"], body) == (200, file.kind, file.make())
    status, headers, body = answer(server, "GET", "/plc.html")
    assert f"{web.policy(text('example.mjs'))};" in headers["content-security-policy"]
    for path in (
        "/plc.wasm",
        "/all.plcm",
        "/../pyproject.toml",
        "/%2e%2e/",
        "/index.htm",
    ):
        assert answer(server, "GET", path)[0] == 404
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert answer(server, method, "/")[0] == 405


def test_a_taken_port_is_refused(server: web.WebServer) -> None:
    port = server.url.rstrip("/").rpartition(":")[2]
    assert "take another port" in refusal("web", "--port", port)


def test_a_reader_that_breaks_off_does_no_harm(server: web.WebServer) -> None:
    port = int(server.url.rstrip("/").rpartition(":")[2])
    for request in (b"", b"\0\xff\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port)) as reader:
            reader.sendall(request)
    assert answer(server, "GET", "/")[0] == 200


def test_the_command_serves_until_a_signal() -> None:
    command = [sys.executable, "-m", "plc", "web", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.fullmatch(
            r"plc: listening at http://127\.0\.0\.1:(\d+)/; Ctrl-C ends it\n", line
        )
        assert found, line
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=20)
        connection.request("GET", "/")
        assert connection.getresponse().read() == web.page()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


# ---- the folder ----------------------------------------------------------------------------------


def test_the_files_are_written_and_written_again(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    for _ in range(2):
        result = run("web", "--export", folder)
        assert result.stdout.split() == [str(folder / name) for name in web.FILES]
        for name, file in web.FILES.items():
            assert (folder / name).read_bytes() == file.make()
            assert f"plc: {name}: {file.use}\n" in result.stderr
        assert {path.name for path in folder.iterdir()} == set(web.FILES)
    assert (folder / "index.html").read_bytes() == web.page()


def test_the_module_is_the_pages_own_with_the_step_in_it() -> None:
    made = web.module().decode()
    found = re.search(r'^const ENGINE = "([A-Za-z0-9+/=]+)";$', made, re.MULTILINE)
    assert found is not None
    assert base64.b64decode(found[1], validate=True) == (DATA / "web/plc.wasm").read_bytes()
    assert made.replace(found[1], "") == text("plc.mjs")
    assert "import " not in re.sub(r"//.*", "", made)


@needs_node
@pytest.mark.parametrize("part", ["module", "worklet", "worker"])
def test_scripts_that_are_joined_are_one_script(part: str, parts: Parts, tmp_path: Path) -> None:
    """Two of them may not name one thing."""
    script = tmp_path / ("script.mjs" if part == "module" else "script.js")
    script.write_text(parts.texts[part])
    node("--check", script)


def test_the_documentation_names_all_that_the_module_has() -> None:
    manual, source = web.manual().decode(), text("plc.mjs")
    names = re.findall(
        r"^export (?:const|class|function|async function) (\w+)", source, re.MULTILINE
    )
    served = re.search(r"this\.served = {(.*?)}", source, re.DOTALL)
    settings = ",".join(re.findall(r"const {([^}]*)} = given", source))
    assert served is not None
    assert "mostAheadS" in settings
    for name in (
        *names,
        *places()["counters"],
        *re.findall(r"(\w+):", served[1]),
        *re.findall(r"(\w+)(?: = [^,]*)?,", settings.replace("...", "")),
        *("push", "flush", "reset", "flags", "delay", "networks", "servedBy", "RangeError"),
    ):
        assert re.search(rf"\b{name}\b", manual), name
    of_streams = re.search(r"const {([^}]*)} = given \?\? {}", source)
    assert of_streams is not None
    for name in re.findall(r"(\w+)(?: = [^,]*)?,", of_streams[1]):
        assert f'<th scope="row">{name}</th>' in manual, name
    for name in web.NETWORKS:
        assert f"{len(web.network(name)) / 1e6:.1f} MB" in manual
        assert f"{name}.plcm" in manual


def test_programs_that_read_numbers_of_a_socket_ask_for_bytes() -> None:
    """A socket gives a Blob otherwise, of which an array is empty."""
    places = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("plc/data/web/*"), *ROOT.glob("examples/*")]
    texts = [path.read_text("utf-8") for path in places if path.suffix in (".md", ".mjs", ".html")]
    reading = [each for each in texts if "onmessage = ({ data }) => node.put(" in each]
    assert len(reading) == 3
    assert all('binaryType = "arraybuffer"' in each for each in reading)


def test_another_page_is_kept(tmp_path: Path) -> None:
    other = tmp_path / "index.html"
    other.write_text("<title>mine</title>")
    assert "index.html exists; give --overwrite" in refusal("web", "--export", tmp_path)
    assert other.read_text() == "<title>mine</title>"
    run("web", "--export", tmp_path, "--overwrite")
    assert other.read_bytes() == web.page()


@pytest.mark.parametrize("name", ["README.md", "package.json"])
def test_files_of_a_project_are_kept(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    refused = refusal("web", "--export", tmp_path)
    assert f"{name} exists; give --overwrite" in refused
    assert "cannot write" not in refused
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(AudioFileError, match="cannot write"):
        web.export(file / "folder")
    with pytest.raises(AudioFileError, match="a file stands where a folder is to be"):
        web.export(file)


# ---- scripts, in node ----------------------------------------------------------------------------


def node(*arguments: object) -> str:
    result = subprocess.run(
        [str(NODE), *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@needs_node
def test_every_check_is_listed() -> None:
    assert json.loads(node(HERE / "web_parts.mjs", DATA / "web", "names")) == list(CHECKS)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    for name in web.NETWORKS:
        (folder / f"{name}.plcm").write_bytes(web.network(name))
    return folder


@needs_node
@some("check", sorted(CHECKS, key=lambda check: check == "affords"), len(CHECKS) - 1)
def test_a_part_of_the_page_in_node(check: str, networks: Path) -> None:
    node(HERE / "web_parts.mjs", DATA / "web", check, networks)


@needs_node
def test_the_exported_module_runs_without_other_files(networks: Path, tmp_path: Path) -> None:
    (tmp_path / "plc.mjs").write_bytes(web.module())
    program = """
import { readFileSync } from "node:fs";
import { Concealer, compiled } from "./plc.mjs";
const model = new Uint8Array(readFileSync(process.argv[2]));
for (const given of [{}, { model }, { module: compiled() }]) {
  const concealer = new Concealer({ sampleRate: 16000, packetSamples: 320, ...given });
  for (let k = 0; k < 20; k++) concealer.push(k % 5 === 4 ? null : new Float32Array(320).fill(0.1));
  console.log(concealer.counters.lostPackets);
}
"""
    (tmp_path / "run.mjs").write_text(program)
    assert node(tmp_path / "run.mjs", networks / "speech.plcm").split() == ["4"] * 3


@needs_node
def test_a_limit_leaves_out_what_takes_longer(networks: Path, tmp_path: Path) -> None:
    """Without one, or with a large one, all is used."""
    (tmp_path / "plc.mjs").write_bytes(web.module())
    program = """
import { readFileSync } from "node:fs";
import { Concealer } from "./plc.mjs";
const model = new Uint8Array(readFileSync(process.argv[2]));
const made = (given) => new Concealer({ sampleRate: 16000, packetSamples: 320, model, ...given });
const heard = (concealer) => {
  let [state, sums] = [1, []];
  for (let k = 0; k < 60; k++) {
    const packet = Float32Array.from({ length: 320 }, () => {
      state = (state * 48271) % 2147483647;
      return state / 2147483647 - 0.5;
    });
    sums.push(concealer.push(k % 5 === 4 ? null : packet).reduce((sum, x) => sum + Math.abs(x), 0));
  }
  return sums;
};
const errors = [0, -1, NaN, "x"].map((limitMs) => {
  try { return made({ limitMs }); } catch (error) { return `${error}`; }
});
const [free, wide, tight] = [{}, { limitMs: 1e9 }, { limitMs: 0.001 }].map(made);
console.log(JSON.stringify({
  errors, networks: [free.networks, wide.networks, tight.networks],
  sums: [heard(free), heard(wide), heard(tight)],
}));
"""
    (tmp_path / "run.mjs").write_text(program)
    said = json.loads(node(tmp_path / "run.mjs", networks / "speech.plcm"))
    assert all(each.startswith("RangeError: limitMs is ") for each in said["errors"])
    assert said["networks"] == [["speech"], ["speech"], []]
    free, wide, tight = said["sums"]
    assert free == wide
    assert free[:4] == tight[:4]
    assert free != tight
    assert min(tight) > 0.0


@needs_node
@pytest.mark.parametrize(("stamps", "lookahead"), [(True, 1), (False, 0)])
def test_pieces_are_played_in_javascript_as_in_python(
    tmp_path: Path, stamps: bool, lookahead: int
) -> None:
    """Stalls, holes, doubles, overlaps, a pause, NaN and a jump, drawn by chance."""
    rate, take = 16_000, 160
    rng = np.random.default_rng(5)
    signal = tones(9, rate, 6 * rate).astype(np.float32)
    signal[30_000] = np.nan
    pieces, due = [], 0.0
    for begin in range(0, len(signal), 320):
        due += 2.0 + (rng.choice([12.0, 30.0]) if rng.random() < 0.02 else 0.0)
        if stamps and (rng.random() < 0.05 or 60_000 < begin < 66_000):
            continue  # lost, or not sent
        due = max(due - (rng.random() < 0.2) * 4.0, begin / take)
        at = begin + 10**7 * (begin > 80_000) if stamps else None
        longer = int(rng.integers(0, 200)) if stamps else 0
        stop = min(begin + 320 + longer, len(signal))
        pieces.append({"tick": math.ceil(due), "begin": begin, "stop": stop, "at": at})
        if stamps and rng.random() < 0.05:
            pieces.append(pieces[-1] | {"tick": math.ceil(due) + 1})
    stats = played_in_both(tmp_path, signal, pieces, 700, lookahead).stats
    assert (stats.late_samples if stamps else stats.unsent_samples) > 0


@needs_node
@some("drift", [1e-3, -1e-3])
def test_a_sender_s_clock_is_followed_in_javascript_as_in_python(
    tmp_path: Path, drift: float
) -> None:
    signal = tones(3, 16_000, 64 * 16_000).astype(np.float32)
    pieces = [
        {"tick": math.ceil(begin / 160 / (1.0 + drift)), "begin": begin, "stop": begin + 320}
        for begin in range(0, len(signal), 320)
        if begin % 16_000  # a fiftieth is lost
    ]
    pieces = [piece | {"at": piece["begin"]} for piece in pieces]
    buffer = played_in_both(tmp_path, signal, pieces, 6000, 0)
    assert buffer.buffered_ms == pytest.approx(60.0, abs=30.0)
    # It has not waited for what a slow clock did not send yet, nor left out what a fast one sent.
    stats = buffer.stats
    missing = stats.lost_samples + stats.unsent_samples + stats.late_samples
    assert missing == pytest.approx(60 * 320, abs=5 * 320)


def played_in_both(
    tmp_path: Path,
    signal: NDArray[np.float32],
    pieces: list[dict[str, Any]],
    ticks: int,
    lookahead: int,
) -> PlayoutBuffer:
    """Play pieces of 16 kHz in JavaScript and in Python, compare; return the latter's buffer."""
    rate, take = 16_000, 160
    pieces.sort(key=lambda piece: cast("int", piece["tick"]))
    named = {"sampleRate": rate, "lookahead": lookahead, "delayMs": 60, "maxDelayMs": 400}
    job = {"settings": named, "take": take, "ticks": ticks, "pieces": pieces}
    (tmp_path / "jobs.json").write_text(json.dumps(job))
    signal.tofile(tmp_path / "in.f32")
    counted = json.loads(node(HERE / "pieces_probe.mjs", DATA / "web", tmp_path))
    buffer = PlayoutBuffer(
        rate,
        lookahead=lookahead,
        delay_ms=60.0,
        max_delay_ms=400.0,
        method="ar",
        budget_ms=math.inf,
    )
    heard, marks = [], []
    for tick in range(ticks):
        while pieces and cast("int", pieces[0]["tick"]) <= tick:
            piece = pieces.pop(0)
            buffer.put(signal[piece["begin"] : piece["stop"]], piece["at"])
        samples, made_up = buffer.take(take)
        heard.append(samples[:, 0])
        marks.append(made_up)
    stats = dataclasses.asdict(buffer.stats)
    assert counted == {re.sub("_(.)", lambda m: m[1].upper(), name): n for name, n in stats.items()}
    assert np.array_equal(np.fromfile(tmp_path / "marks.u8", np.uint8) != 0, np.concatenate(marks))
    there = np.fromfile(tmp_path / "out.f32", np.float32)
    np.testing.assert_allclose(there, np.concatenate(heard), atol=1e-3)
    return buffer


@needs_node
@pytest.mark.parametrize("encoding", ["int16", "mulaw"])
def test_a_page_takes_bytes_cut_anywhere_as_python_does(
    tmp_path: Path, encoding: Literal["int16", "mulaw"]
) -> None:
    rate = 16_000
    signal = np.rint(8000.0 * tones(3, rate, 2 * rate)).astype("<i2")
    data = signal.tobytes() if encoding == "int16" else G711("pcmu").encode(signal[:, None] / 32768)
    data += b"\x01" * (-len(data) % 4)
    (tmp_path / "in.f32").write_bytes(data)
    cuts = [*range(0, len(data), 331), len(data)]
    pieces = [
        {"tick": k // 2 + (k == 9), "begin": begin, "stop": stop, "at": None}
        for k, (begin, stop) in enumerate(itertools.pairwise(cuts))
    ]
    named = {"sampleRate": rate, "delayMs": 0, "encoding": encoding}
    job = {"settings": named, "take": 161, "ticks": 200, "bytes": "whole", "pieces": pieces}
    (tmp_path / "jobs.json").write_text(json.dumps(job))
    counted = json.loads(node(HERE / "pieces_probe.mjs", DATA / "web", tmp_path))
    buffer = PlayoutBuffer(rate, delay_ms=0.0, encoding=encoding, method="ar", budget_ms=math.inf)
    heard, marks = b"", []
    for tick in range(200):
        while pieces and cast("int", pieces[0]["tick"]) <= tick:
            piece = pieces.pop(0)
            buffer.put(data[piece["begin"] : piece["stop"]])
        given, made_up = buffer.take_bytes(161)
        heard += given
        marks.append(made_up)
    assert counted["receivedSamples"] == buffer.stats.received_samples >= len(signal)
    assert np.array_equal(np.fromfile(tmp_path / "marks.u8", np.uint8) != 0, np.concatenate(marks))
    there = (tmp_path / "out.f32").read_bytes()
    if encoding == "int16":
        apart = np.frombuffer(there, "<i2").astype(int) - np.frombuffer(heard, "<i2")
        assert np.abs(apart).max() <= 33
    else:
        here, there_ = (np.frombuffer(each, np.uint8) for each in (heard, there))
        assert np.count_nonzero(here != there_) < 0.02 * len(here)


@needs_node
def test_the_module_says_where_things_lie() -> None:
    program = (
        "const { readFileSync } = require('node:fs');"
        "const module = new WebAssembly.Module(readFileSync(process.argv[1]));"
        f"const [section] = WebAssembly.Module.customSections(module, '{SECTION}');"
        "console.log(Buffer.from(section).toString());"
    )
    said = json.loads(node("-e", program, DATA / "web/plc.wasm"))
    assert said == places()
    assert set(said["counters"].values()) < set(range(layout.STATS, layout.LADDER))
    assert f'const SECTION = "{SECTION}";' in text("plc.mjs")


def test_the_page_reads_models_as_kernels_do() -> None:
    script = text("plc.mjs")
    for name in web.NETWORKS:
        assert f'["{name}", {", ".join(map(str, find(name).sample_rates))}]' in script
    words = f"lowestRate: {of.LOWEST_RATE}, highestRate: {of.HIGHEST_RATE}"
    assert f"const MODEL = {{ {words}, words: {of.WORDS} }};" in script
    words = f"bytes: {stored.BYTES}, parts: {stored.PARTS}, head: {stored.HEAD}"
    assert f"const FILE = {{ {words} }};" in script
    assert f'const MAGIC = "{stored.MAGIC.to_bytes(8, "little").decode()}";' in script


def test_the_package_has_each_file_that_its_modules_name_as_bundlers_look_for_it() -> None:
    scripts = [text(name) for name in web.FILES if name.endswith(".mjs")]
    named = [
        each
        for script in scripts
        for each in re.findall(r'new URL\("\./([\w.-]+)", import\.meta\.url\)', script)
    ]
    networks = {f"{name}.plcm" for name in web.NETWORKS}
    assert sorted(named) == sorted({"plc-worker.mjs", "plc-processor.mjs", *networks})
    assert sum(script.count("import.meta") for script in scripts) == len(named)
    about = json.loads(web.package())
    packed = {name for each in about["files"] for name in fnmatch.filter(web.FILES, each)}
    entries = {each["default"] for each in list(about["exports"].values())[:2]}
    assert packed >= {*named, *(each.removeprefix("./") for each in entries), "README.md"}


def test_the_page_tells_the_sizes_of_the_networks() -> None:
    for use, name in (("speech", "speech"), ("music", "music"), ("bridges", "speech-bridge")):
        row = re.search(rf'for="network-{use}">.*?</label>', text("index.html"), re.DOTALL)
        assert row is not None
        assert f"{len(web.network(name)) / 1e6:.1f} MB" in row[0]
    assert len(web.network()) <= 2.5e6


# Rate, channels, packet in samples, lookahead in packets, signal.
FORMATS = [
    (8_000, 1, 160, 0, glide),
    (16_000, 1, 320, 1, glide),
    (44_100, 2, 441, 0, tones),
    (48_000, 1, 960, 2, tones),
    (48_000, 1, 480, 0, noise),
]


def stream_of(format_: tuple[Any, ...]) -> tuple[dict[str, int], Any, Any]:
    """Return settings, packets of shape (packets, samples, channels), and the trace."""
    rate, channels, packet_samples, lookahead, maker = format_
    packets = round(2.0 * rate / packet_samples)
    shape = (packets, packet_samples)
    make = noise if maker is noise else lambda seed, samples: maker(seed, rate, samples)
    signal = np.stack(
        [make(c, packets * packet_samples).reshape(shape) for c in range(channels)], axis=-1
    )
    trace = GilbertElliott(0.12, 2.0).trace(packets, seed=3)
    settings = {
        "sampleRate": rate,
        "channels": channels,
        "packetSamples": packet_samples,
        "lookahead": lookahead,
        "seed": 5,
    }
    return settings, np.ascontiguousarray(signal, np.float32), trace


@needs_node
def test_what_the_browser_plays_is_what_python_plays(tmp_path: Path) -> None:
    jobs = []
    for number, format_ in enumerate(FORMATS):
        settings, signal, trace = stream_of(format_)
        signal.tofile(tmp_path / f"{number}.in")
        jobs.append(
            {
                "settings": settings,
                "trace": trace.astype(int).tolist(),
                "packets": str(tmp_path / f"{number}.in"),
                "out": str(tmp_path / f"{number}.out"),
            }
        )
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    said = node(
        HERE / "web_step.mjs",
        DATA / "web/plc.mjs",
        DATA / "web/plc.wasm",
        tmp_path / "jobs.json",
    )
    for number, (format_, answered) in enumerate(zip(FORMATS, json.loads(said), strict=True)):
        settings, signal, trace = stream_of(format_)
        concealer = Concealer(
            sample_rate=settings["sampleRate"],
            channels=settings["channels"],
            packet_samples=settings["packetSamples"],
            lookahead=settings["lookahead"],
            seed=settings["seed"],
            method="ar",
            budget_ms=float("inf"),
        )
        expected: Any = np.stack(
            [
                concealer.push(None if lost else packet)
                for packet, lost in zip(signal, trace, strict=True)
            ]
        )
        heard: Any = np.fromfile(tmp_path / f"{number}.out", np.float32).reshape(expected.shape)
        np.testing.assert_allclose(heard, expected, rtol=0, atol=1e-4, err_msg=str(format_[:4]))
        assert not answered["grew"]
        lag = settings["lookahead"]
        concealed = np.array(answered["flags"]) & 1
        np.testing.assert_array_equal(concealed[lag:], trace[: len(trace) - lag])


# ---- the networks, in node -----------------------------------------------------------------------

# Recording, rate, channels, samples of a packet, packets of lookahead.
CONCEALED = [
    ("speech", 8_000, 1, 160, 1),
    ("speech", 16_000, 1, 320, 0),
    ("speech", 16_000, 2, 160, 1),
    ("speech", 48_000, 1, 480, 0),
    ("speech", 48_000, 1, 960, 1),
    ("music", 16_000, 2, 320, 0),
    ("music", 48_000, 1, 480, 0),
    ("music", 48_000, 1, 960, 1),
]


def concealed(
    format_: tuple[str, int, int, int, int],
    networks: Path,
    folder: Path,
    *names: str,
    once: bool = False,
) -> tuple[Any, Any, dict[str, Any]]:
    """Conceal a recording in node; return its packets, the trace and what the stream answered.

    ``once``: with one burst, of three packets, at its end.
    """
    recording, rate, channels, packet, lookahead = format_
    signal, recorded = read_audio(DATA / f"{recording}.flac")
    some = signal[: int(2.5 * recorded), 0]
    one = np.repeat(some, rate // recorded) if rate >= recorded else some[:: recorded // rate]
    both = np.stack([one, 0.5 * one[::-1]][:channels], 1)
    packets = both[: one.size // packet * packet].reshape(-1, packet, channels)
    trace = GilbertElliott(0.25, 2.5).trace(len(packets), seed=3)
    if once:
        trace = (np.arange(len(packets)) - len(packets)) // 3 == -2
    np.ascontiguousarray(packets, np.float32).tofile(folder / "in")
    settings = {"sampleRate": rate, "channels": channels, "packetSamples": packet}
    job = {
        "settings": {**settings, "lookahead": lookahead},
        "trace": trace.astype(int).tolist(),
        "packets": str(folder / "in"),
        "models": [str(networks / f"{name}.plcm") for name in names],
        "out": str(folder / "out"),
        "block": str(folder / "block"),
    }
    (folder / "jobs.json").write_text(json.dumps([job]))
    files = DATA / "web/plc.mjs", DATA / "web/plc.wasm", folder / "jobs.json"
    (answered,) = json.loads(node(HERE / "web_step.mjs", *files))
    return packets, trace, answered


@needs_node
@pytest.mark.system
@pytest.mark.parametrize("format_", CONCEALED)
def test_the_networks_serve_in_the_browser_where_they_serve_in_python(
    format_: tuple[str, int, int, int, int], networks: Path, tmp_path: Path
) -> None:
    """In speech they part where bursts are long: networks make much of their drafts' last digits.

    Most samples agree to 2e-4, and what differs lies 22 dB below the concealment (48 kHz, 10 ms) or
    further: since bursts are held for 80 ms, their ends are louder. Between types of x86-64,
    samples of speech differ by up to 5e-3.
    """
    packets, trace, answered = concealed(format_, networks, tmp_path, *web.NETWORKS)
    concealer = Concealer(*format_[1:], budget_ms=float("inf"), prepare="never")
    expected: Any = np.stack(
        [concealer.push(None if lost else each) for each, lost in zip(packets, trace, strict=True)]
    )
    heard: Any = np.fromfile(tmp_path / "out", np.float32).reshape(expected.shape)
    served = {"prediction": 0, **dict.fromkeys(("speech", "music", "bridges", "noise"), 0)}
    uses = {"network:speech-narrowband": "speech", "network:speech-bridge": "bridges"}
    for rung, samples in concealer.stats.rung_samples.items():
        name = uses.get(rung, rung.removeprefix("network:"))
        served["prediction" if name.startswith("ar:") else name] += samples
    assert answered["served"] == served
    assert served["music" if format_[0] == "music" else "speech"] > 0
    assert (served["bridges"] > 0) == (format_[0] == "speech" and format_[4] > 0)
    assert answered["concealed"] == concealer.stats.concealed_samples
    assert not answered["grew"]
    lag = format_[4]
    lost = trace[: len(trace) - lag]
    apart, played = (each[lag:][lost] for each in (heard - expected, expected))
    assert np.median(np.abs(apart)) < 3e-4
    assert np.mean(apart**2) < 0.01 * np.mean(played**2)
    if format_[0] == "music":
        assert np.abs(apart).max() < 1e-3


# The network, the first of its words in the block, what it is put to.
RUNS: list[tuple[str, int, tuple[str, int, int, int, int]]] = [
    ("speech", layout.SPEECH_NET, ("speech", 16_000, 1, 320, 0)),
    ("speech-narrowband", layout.SPEECH_NET, ("speech", 8_000, 1, 160, 0)),
    ("music", layout.MUSIC_NET, ("music", 48_000, 1, 480, 0)),
    ("speech-bridge", layout.BRIDGE_NET, ("speech", 16_000, 1, 320, 1)),
]

GRID_BUT_WINDOW = (
    np.zeros(1, np.float32),
    np.zeros(1, np.int64),
    np.zeros((2, 1), np.float32),
    np.zeros((4, 1), np.float32),
    np.zeros(1, np.float32),
    np.zeros(1, np.complex64),
)


@needs_node
@needs_numba
@pytest.mark.parametrize(("name", "place", "format_"), RUNS)
def test_a_network_in_the_module_computes_what_it_computes_in_python(
    name: str,
    place: int,
    format_: tuple[str, int, int, int, int],
    networks: Path,
    tmp_path: Path,
) -> None:
    concealed(format_, networks, tmp_path, name, once=True)
    block = np.fromfile(tmp_path / "block", np.int64)
    model = opened(web.network(name))
    assert model is not None

    def floats(words: Any, place: int, shape: Any) -> Any:
        return words.view(np.uint8)[place:].view(np.float32)[: int(np.prod(shape))].copy()

    own = block[place:]
    drafts, bins, frames, touching = own[[gap.DRAFTS, gap.BINS, gap.FRAMES, gap.TOUCHING]]
    found = floats(block, own[gap.FILLED], (2, bins, touching))
    answer = np.zeros_like(found)
    run_network(
        model[model[of.PLAN_AT] // 8 :][: model[of.N_PLAN]].copy(),
        floats(model, model[of.WEIGHTS_AT], model[of.N_WEIGHTS]),
        floats(block, own[gap.SPECTRA], (drafts, 2, bins, frames)),
        floats(block, own[gap.LOST], frames),
        np.zeros(model[of.WORK], np.float32),
        answer,
    )
    if place == layout.MUSIC_NET:  # whose answer is held near the draft
        window = gap.GRID + min(GRID_TABLE.arrays)
        hold_answer(
            Grid(floats(block, own[window], own[gap.SIZE]), *GRID_BUT_WINDOW),
            floats(block, own[gap.SPECTRA], (drafts, 2, bins, frames)).reshape(drafts, 2, bins, -1),
            own[gap.CONTEXT],
            block[block[extend_music.ERRORS] // 8 :][:1].view(np.float64),
            ERROR_SHARE,
            block[block[layout.REALS_AT] // 8 :].view(np.float64)[layout.RECALL_WEIGHT],
            answer.reshape(1, 2, bins, touching),
        )
    largest = np.abs(answer).max()
    assert largest > 1e-3
    apart = 1e-5 * largest if place == layout.MUSIC_NET else 0.0
    np.testing.assert_allclose(found, answer, rtol=0, atol=apart)


# ---- the compiled step ---------------------------------------------------------------------------


@pytest.mark.system
def test_the_step_in_the_package_is_that_of_these_kernels(tmp_path: Path) -> None:
    if shutil.which("wasm-ld") is None:
        pytest.skip("wasm-ld is not installed (Debian: lld)")
    from plc.embed.library import build_library

    built = build_library(tmp_path, "wasm32").library
    assert built.read_bytes() == (DATA / "web/plc.wasm").read_bytes(), (
        "kernels have changed: plc c build --target wasm32 --out plc/data/web"
    )
