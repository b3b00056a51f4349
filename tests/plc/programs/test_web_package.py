"""What ``plc web --export`` writes is a package for npm, and its node plays in a browser."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from plc.programs import web
from tests.browser import ARGUMENTS, chromium
from tests.processes import ROOT

pytestmark = pytest.mark.system

USER = """
import { Concealer } from "plc-engine";
const concealer = new Concealer({ sampleRate: 48000, packetSamples: 480 });
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
const node = await PlcNode.create(context, { delayMs: 60, uses: ["speech", "music"] });
node.connect(context.destination);
new AudioDecoder({ output: (data) => node.put(data, 0), error: console.error });
console.log(heard.length, buffer.take(480).madeUp, node.stats?.jumps, samplesOf);
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
window.refuse = async () => {
  const context = new AudioContext();
  try {
    await PlcNode.create(context, { channel: 2, uses: [] });
  } catch ({ name, message }) {
    return `${name}: ${message}`;
  }
};
</script>"""


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
    played, setting, packet = run(installed, "node", "user.mjs").splitlines()
    assert played == "true"
    assert setting.startswith("RangeError there is no setting channel; there are sampleRate, ch")
    assert packet.startswith("RangeError a packet is a Float32Array")
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


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    (folder / "node.html").write_text(PAGE)
    shutil.copy(ROOT / "examples/webcodecs.html", folder)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


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
    refused = visited.evaluate("() => window.refuse()")
    assert refused.startswith("RangeError: there is no setting channel;")
    stats = found["stats"]
    assert stats["receivedSamples"] == 135 * 960
    assert stats["lostSamples"] > 4 * 960
    assert stats["lateSamples"] == stats["duplicateSamples"] == 0
    if found["starved"] == 0:  # a busy machine's worker may be late
        assert min(found["peaks"]) > 0.4  # in lost pieces, too
        assert max(found["peaks"]) < 0.55


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
