"""What ``plc web --export`` writes is a package for npm; its node plays, also from a bundle."""

from __future__ import annotations

import functools
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from plc.programs import web
from tests.browser import ARGUMENTS, chromium
from tests.processes import ROOT

pytestmark = pytest.mark.system

USER = """
import { readFile } from "node:fs/promises";
import { Concealer } from "plc-engine";
import { PlcNode } from "plc-engine/node";
const model = await readFile(new URL(import.meta.resolve("plc-engine/speech.plcm")));
const concealer = new Concealer({ sampleRate: 48000, packetSamples: 480, model });
for (let k = 0; k < 20; k++) {
  concealer.push(Float32Array.from({ length: 480 }, (_, i) => Math.sin(0.1 * (480 * k + i))));
}
console.log(concealer.push(null).some((x) => Math.abs(x) > 0.5));
const wrong = [
  () => new Concealer({ sampleRate: 48000, packetSamples: 480, channel: 2 }),
  () => concealer.push(new Array(480).fill(0)),
];
for (const call of wrong) {
  try { call(); } catch (error) { console.log(error.name, error.message); }
}
await PlcNode.create().catch(({ message }) => console.log(message));
"""
TYPED = """
import { Concealer, PlayoutBuffer, fetchModel, samplesOf } from "plc-engine";
import { PlcNode } from "plc-engine/node";
const model: Uint8Array | null = await fetchModel(48000, ["speech"], "./");
const concealer = new Concealer({ sampleRate: 48000, packetSamples: 480, model });
const heard: Float32Array = concealer.push(null, [[0, 5]]);
const buffer = new PlayoutBuffer({ sampleRate: 48000, delayMs: 60, lookahead: 1 });
buffer.put(new Int16Array(5), null);
const context = new AudioContext();
const node = await PlcNode.create(context, { delayMs: 60, sampleRate: 48000, uses: ["speech"] });
node.connect(context.destination);
new AudioDecoder({ output: (data) => node.put(data, 0), error: console.error });
console.log(heard.length, buffer.take(480).madeUp, node.stats?.delayMs, samplesOf);
// @ts-expect-error
new Concealer({ sampleRate: 48000, packetSamples: 480, channel: 2 });
"""
# A tone in pieces of 20 ms, of which every tenth is lost; what is heard, in the middle.
PAGE = """<!doctype html><title>node</title><script type="module">
import { PlcNode } from "./plc-node.mjs";
window.run = async () => {
  const context = new AudioContext({ sampleRate: 48000 });
  await context.resume();
  const node = await PlcNode.create(context, { channels: 2, delayMs: 100, uses: ["music"] });
  const tap = new AnalyserNode(context, { fftSize: 32768 });
  node.connect(tap).connect(context.destination);
  for (let k = 0; k < 150; k++) {
    if (k % 10 === 9) continue;
    const piece = new Float32Array(1920);
    for (let i = 0; i < 960; i++) {
      piece[2 * i] = piece[2 * i + 1] = 0.5 * Math.sin((2 * Math.PI * 440 * (960 * k + i)) / 48000);
    }
    node.put(piece, 20000 * k);
  }
  await new Promise((done) => setTimeout(done, 2000));
  const heard = new Float32Array(32768);
  tap.getFloatTimeDomainData(heard);
  const [{ stats, starved, bufferedMs }] = [node];
  node.close();
  await context.close();
  const peaks = Array.from({ length: 32 }, (_, k) =>
    Math.max(...heard.subarray(1024 * k, 1024 * k + 1024).map(Math.abs)));
  return { stats, starved, bufferedMs, peaks };
};
window.refuse = async (given) => {
  const context = new AudioContext({ sampleRate: 48000 });
  return PlcNode.create(context, given).catch(({ name, message }) => `${name}: ${message}`);
};
// A chirp in pieces of 20 ms, sent in time: its frequency says how late it is heard, in seconds.
const chirp = (k) => Float32Array.from({ length: 960 }, (_, i) => {
  const t = (960 * k + i) / 48000;
  return 0.5 * Math.sin(2 * Math.PI * (300 * t + 15 * t * t));
});
const median = (numbers) => numbers.sort((a, b) => a - b)[numbers.length >> 1];
window.follow = async ({ seconds, suspendedS = 0, ...given }) => {
  const context = new AudioContext({ sampleRate: 48000 });
  await (suspendedS ? context.suspend() : context.resume());
  const node = await PlcNode.create(context, { uses: [], delayMs: 60, ...given });
  const tap = new AnalyserNode(context, { fftSize: 4096 });
  node.connect(tap).connect(context.destination);
  const began = performance.now();
  const lags = [];
  for (let k = 0, now = 0; now < seconds; now = (performance.now() - began) / 1000) {
    if (now > suspendedS && context.state === "suspended") await context.resume();
    for (; 0.02 * k <= now; k++) node.put(chirp(k), 20000 * k);
    if (now > 0.5 * (lags.length + 1)) {
      const heard = new Float32Array(4096);
      tap.getFloatTimeDomainData(heard);
      const rises = [];
      for (let i = 1; i < 4096; i++) {
        const [x, y] = heard.subarray(i - 1, i + 1);
        if (x < 0 && y >= 0) rises.push(i + x / (x - y));
      }
      const hertz = 48000 / median(rises.slice(1).map((x, i) => x - rises[i]));
      lags.push((performance.now() - began - 43) / 1000 - (hertz - 300) / 30);
    }
    await new Promise((done) => setTimeout(done, 5));
  }
  const [{ stats, starved }] = [node];
  node.close();
  await context.close();
  return { lags: lags.filter(Number.isFinite), stats, starved };
};
</script>"""
# A worker that does something else for 150 ms of each half second.
LATE = """
import "../plc-worker.mjs";
const wait = (end) => { while (performance.now() < end); };
setInterval(() => wait(performance.now() + 150), 500);
"""
BUSY = (sys.executable, "-c", "while True: pass")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return web.export(tmp_path_factory.mktemp("web"))[0].parent


@pytest.fixture(scope="module")
def installed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project with the package."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed (Debian: npm)")
    project = tmp_path_factory.mktemp("project")
    (project / "package.json").write_text('{"type": "module"}')
    run(project, "npm", "pack", str(folder))
    (made,) = project.glob("plc-engine-*.tgz")
    run(project, "npm", "install", "--offline", f"./{made.name}")
    return project


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def test_the_package_is_imported_by_its_name(installed: Path) -> None:
    (installed / "user.mjs").write_text(USER)
    played, setting, packet, node = run(installed, "node", "user.mjs").splitlines()
    assert played == "true"
    assert setting.startswith("RangeError there is no setting channel; there are sampleRate, ch")
    assert packet.startswith("RangeError a packet is a Float32Array")
    assert node.startswith("PlcNode needs an AudioContext of a page")
    package = installed / "node_modules" / "plc-engine"
    assert not list(package.glob("index.html"))  # which has recordings under another licence
    assert len(list(package.glob("*.plcm"))) == len(web.NETWORKS)


def test_types_are_those_of_the_module(installed: Path) -> None:
    typed, source = ((installed / "node_modules/plc-engine" / f"plc.{end}").read_text()
                     for end in ("d.mts", "mjs"))  # fmt: skip
    exported = re.compile(r"^export (?:async )?(?:const|class|function) (\w+)", re.MULTILINE)
    assert set(exported.findall(typed)) == set(exported.findall(source))
    if not shutil.which("tsc"):
        pytest.skip("tsc is not installed (npm: typescript)")
    (installed / "user.ts").write_text(TYPED)
    options = ("--noEmit", "--strict", "--target", "es2022", "--module", "nodenext")
    run(installed, "tsc", *options, "--lib", "es2022,dom", "user.ts")


# In any order, twice, damaged, far off and over the numbers' end: each has one packet of sound.
HOSTILE = """
import { Receiver } from "./discord.mjs";
import OpusScript from "opusscript";
const encoder = new OpusScript(48000, 1, OpusScript.Application.VOIP);
const wave = (k) => Int16Array.from({ length: 960 }, (_, i) => 9000 * Math.sin(32 * k + i / 30));
const coded = (_, k) => encoder.encode(Buffer.from(wave(k).buffer), 960);
const packets = Array.from({ length: 40 }, coded);
const played = (numbers, change = (packet) => packet) => {
  const receiver = new Receiver({ channels: 1 });
  const take = (k) => receiver.receive((65530 + k) & 0xffff, change(packets[k % 40], k));
  const heard = numbers.flatMap(take);
  heard.push(...receiver.end());
  const error = heard.flatMap((each, k) => [...each].map((x, i) => x - plain[k]?.[i]));
  const energy = error.reduce((sum, x) => sum + x * x, 0);
  return [heard.length, receiver.made, Math.sqrt(energy / error.length)];
};
const all = [...packets.keys()];
const decoder = new Receiver({ channels: 1 });
const plain = packets.map((packet) => decoder.decode(packet));
const damaged = [Buffer.alloc(0), Buffer.alloc(9000), null, "?"];
const results = {
  all: played(all),
  shuffled: played([0, 2, 1, 3, 5, 4, 4, 6, 6, 2, ...all.slice(7)]),
  lost: played(all.filter((k) => k % 10 !== 5)),
  damaged: played(all, (packet, k) => (k % 10 === 5 ? damaged[(k - 5) / 10] : packet)),
  anew: played([...all, ...all.map((k) => k + 20000)]).slice(0, 2),
  halved: played([...all, ...[2, 2, 0, ...all.slice(4)].map((k) => 20000 + (k & ~1))]).slice(0, 2),
  strays: played([0, 20004, 1, 40012, -60, 20005, ...all.slice(2)]),
};
console.log(JSON.stringify(results));
"""


@pytest.fixture(scope="module")
def bot(installed: Path) -> Path:
    """The project with Opus, and the example for bots of Discord."""
    there = Path(run(installed, "npm", "root", "-g").strip(), "opusscript")
    if not there.is_dir():
        pytest.skip("opusscript is not installed (npm install -g opusscript@0.1.1)")
    (installed / "node_modules/opusscript").symlink_to(there)
    shutil.copy(ROOT / "examples/discord.mjs", installed)
    return installed


def test_lost_packets_of_a_bot_are_concealed(bot: Path) -> None:
    speech, rate = soundfile.read(ROOT / "plc/data/speech.flac")
    soundfile.write(bot / "speech.wav", np.repeat(speech[: 3 * rate], 48_000 // rate), 48_000)
    heard = {}
    for loss in ("0", "0.1"):
        said = run(bot, "node", "discord.mjs", "speech.wav", f"heard-{loss}.wav", loss)
        played, made_up = re.findall(r"\d+", said)
        heard[int(made_up)], found = soundfile.read(bot / f"heard-{loss}.wav")
        assert found == 48_000
        assert abs(int(played) - 150) <= 2
    whole, lossy = heard.pop(0), next(iter(heard.values()))
    assert 4 < next(iter(heard)) < 30
    same = min(len(whole), len(lossy))
    error = lossy[:same] - whole[:same]
    assert np.sum(error**2) < 0.4 * np.sum(whole**2)


def test_hostile_packets_of_a_bot_are_absorbed(bot: Path) -> None:
    (bot / "hostile.mjs").write_text(HOSTILE)
    found = json.loads(run(bot, "node", "hostile.mjs"))
    assert found["all"] == found["shuffled"] == found["strays"] == [40, 0, 0.0]
    for name in ("lost", "damaged"):
        count, made_up, error = found[name]
        assert (count, made_up) == (40, 4), name
        assert error < 0.05, name  # the sound's is 0.19
    assert found["anew"] == [80, 0]
    assert found["halved"] == [79, 19]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder, and give its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    (folder / "node.html").write_text(PAGE)
    shutil.copy(ROOT / "examples/webcodecs.html", folder)
    (folder / "late").mkdir()
    (folder / "late/plc-worker.mjs").write_text(LATE)
    shutil.copy(folder / "plc-processor.mjs", folder / "late")
    with served(folder) as address:
        yield address


@pytest.fixture
def visited() -> Iterator[Any]:
    """A page of a browser that plays at once."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    autoplay = "--autoplay-policy=no-user-gesture-required"
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium(), args=[*ARGUMENTS, autoplay])
        page = browser.new_page()
        page.set_default_timeout(60_000.0)
        yield page
        browser.close()


def test_the_node_plays_pieces_and_conceals_in_a_browser(address: str, visited: Any) -> None:
    visited.goto(f"{address}node.html")
    visited.wait_for_function("() => window.run")
    found = visited.evaluate("() => window.run()")
    for given, said in (
        ({"channel": 2, "uses": []}, "there is no setting channel; there are sampleRate, "),
        ({"sampleRate": 24000}, "sampleRate is 24000, and the context plays 48000 Hz; make it by"),
    ):
        refused = visited.evaluate("(given) => window.refuse(given)", given)
        assert refused.startswith(f"RangeError: {said}")
    stats = found["stats"]
    assert stats["receivedSamples"] == 135 * 960
    assert stats["lostSamples"] >= 4 * 960
    assert stats["lateSamples"] == stats["duplicateSamples"] == 0
    if found["starved"] == 0:  # a busy machine's worker may be late
        assert min(found["peaks"]) > 0.4  # in lost pieces, too
        assert max(found["peaks"]) < 0.55


@pytest.mark.parametrize(
    "given",
    [{"folder": "./late/", "seconds": 8}, {"suspendedS": 2, "seconds": 4}],
    ids=["worker", "context"],
)
def test_the_delay_of_the_node_stays(address: str, visited: Any, given: dict[str, Any]) -> None:
    lags, stats, starved = followed(address, visited, given)
    assert starved >= (5 if "folder" in given else 0)
    assert np.median(lags[-4:]) < 0.25, lags  # 0.09 where no processor is busy
    assert 30 < stats["delayMs"] < 250


@pytest.mark.deep
def test_the_delay_of_the_node_stays_beside_busy_processes(address: str, visited: Any) -> None:
    busy = [subprocess.Popen(BUSY) for _ in range(3)]
    try:
        lags, stats, _ = followed(address, visited, {"seconds": 60, "maxDelayMs": 300})
    finally:
        for each in busy:
            each.kill()
            each.wait()
    assert np.median(lags[-20:]) < 0.4, lags
    assert stats["delayMs"] < 400


def followed(
    address: str, visited: Any, given: dict[str, Any]
) -> tuple[list[float], dict[str, float], int]:
    """Return how late a chirp is heard, in seconds; the node's counters, and its silences."""
    visited.goto(f"{address}node.html")
    visited.wait_for_function("() => window.follow")
    found = visited.evaluate("(given) => window.follow(given)", given)
    return found["lags"], found["stats"], found["starved"]


def test_packets_that_a_decoder_of_webcodecs_never_got_are_concealed(
    address: str, visited: Any
) -> None:
    visited.goto(f"{address}webcodecs.html")
    visited.fill("#loss", "20")
    visited.click("#play")
    visited.wait_for_function("() => document.getElementById('play').disabled")
    visited.wait_for_function("() => !document.getElementById('play').disabled")
    said = visited.inner_text("#said")
    counted = re.fullmatch(r"(\d+) packets sent, (\d+) lost", said)
    assert counted, said
    sent, lost = map(int, counted.groups())
    assert 400 <= sent <= 402
    assert 0.1 * sent < lost < 0.3 * sent
    received_ms, lost_ms = (
        int(visited.inner_text(f"#{name}").removesuffix(" ms")) for name in ("received", "lost")
    )
    assert received_ms == pytest.approx(20 * (sent - lost), abs=40)
    # Of a burst behind which nothing has come when it is due, the buffer knows no end.
    assert 0.5 * 20 * lost < lost_ms <= 20 * lost + 100


# ---- bundled ------------------------------------------------------------------------------------

README = (Path(web.__file__).parents[1] / "data/web/README.md").read_text()
# A tone through the socket of the README's program.
HEARD = """
globalThis.run = async () => {
  await context.resume();
  const tap = new AnalyserNode(context, { fftSize: 32768 });
  node.connect(tap);
  const { sampleRate } = context;
  for (let at = 0; at < 2 * sampleRate; at += 1000) {
    const tone = (_, i) => 16384 * Math.sin((2 * Math.PI * 440 * (at + i)) / sampleRate);
    socket.onmessage({ data: Int16Array.from({ length: 1000 }, tone).buffer });
  }
  await new Promise((done) => setTimeout(done, 1500));
  const heard = new Float32Array(32768);
  tap.getFloatTimeDomainData(heard);
  return Math.max(...heard.map(Math.abs));
};
"""
OPENED = """<!doctype html><title>bundled</title><script>globalThis.socket = {};</script>
<script type="module" src="./APP"></script>"""
BUNDLERS = ("vite@8", "webpack@5", "esbuild@0.28")
WEBPACK = """
import webpack from "webpack";
const output = { path: `${process.cwd()}/webpack` };
webpack({ mode: "production", entry: "./app.mjs", output }, (error, stats) => {
  if (error || stats.hasErrors()) throw error ?? new Error(stats.toString());
});
"""


@pytest.fixture(scope="module")
def bundlers(installed: Path) -> Path:
    """The project, with the README's program and what bundles it."""
    command = ("npm", "install", "--no-audit", "--no-fund", "--engine-strict", *BUNDLERS)
    done = subprocess.run(command, cwd=installed, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm does not install bundlers: {done.stderr.strip()[-200:]}")
    program = README.split("```js\n")[1].split("```")[0]
    (installed / "app.mjs").write_text(program + HEARD)
    (installed / "index.html").write_text(OPENED.replace("APP", "app.mjs"))
    return installed


def heard(visited: Any, address: str) -> float:
    visited.goto(address)
    visited.wait_for_function("() => globalThis.run")
    peak: float = visited.evaluate("() => run()")
    return peak


def vite(project: Path) -> str:
    run(project, "node_modules/.bin/vite", "build", "--outDir", "vite")
    return "vite"


def webpack(project: Path) -> str:
    run(project, "node", "--input-type=module", "-e", WEBPACK)
    (project / "webpack/index.html").write_text(OPENED.replace("APP", "main.js"))
    return "webpack"


def esbuild(project: Path) -> str:
    """As the README says."""
    command = README.split("as they are, so name the files:\n")[1].split("\nOr ")[0]
    run(project, "env", "PATH=node_modules/.bin:/usr/bin:/bin", "sh", "-ec", command)
    (project / "dist/index.html").write_text(OPENED.replace("APP", "app.mjs"))
    return "dist"


@pytest.mark.parametrize("bundle", [vite, webpack, esbuild])
def test_a_bundled_program_is_heard(
    bundle: Callable[[Path], str], bundlers: Path, visited: Any
) -> None:
    with served(bundlers / bundle(bundlers)) as address:
        assert 0.4 < heard(visited, address) < 0.55


def test_a_program_is_heard_from_the_server_of_vite(bundlers: Path, visited: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [str(bundlers / "node_modules/.bin/vite"), "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(
        [*command, "--strictPort"], cwd=bundlers, stdout=subprocess.PIPE
    ) as server:
        try:
            assert server.stdout is not None
            while b"127.0.0.1:" not in server.stdout.readline():
                assert server.poll() is None
            assert 0.4 < heard(visited, f"http://127.0.0.1:{port}/") < 0.55
        finally:
            server.terminate()
