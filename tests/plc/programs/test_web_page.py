"""The page of ``plc web`` in a browser: it plays, loses, conceals, and says what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from plc.programs import web
from tests.browser import ARGUMENTS, chromium
from tests.signals import tones

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = chromium()

pytestmark = pytest.mark.system

# A shared machine may stall; nothing here takes more than seconds.
PATIENCE_MS = 60_000.0
# A microphone that beeps once a second.
FAKE = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
Open = Callable[..., "Visit"]


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    with sync_api.sync_playwright() as started:
        yield started


def launched(playwright: Any, *arguments: str) -> Browser:
    browser: Browser = playwright.chromium.launch(
        executable_path=CHROMIUM, args=[*ARGUMENTS, *arguments]
    )
    return browser


@pytest.fixture(scope="module")
def browser(playwright: Any) -> Iterator[Browser]:
    opened = launched(playwright, *FAKE)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    exported = web.export(tmp_path_factory.mktemp("web"))[0]
    with web.WebServer(port=0) as server:
        yield {"http": server.url, "file": exported.as_uri()}


@pytest.fixture
def opened(browser: Browser, addresses: dict[str, str]) -> Open:
    """Return a function that opens the page, over http unless a scheme is given."""
    return lambda scheme="http", **options: Visit(browser, addresses[scheme], **options)


class Visit:
    """A page that is open, and what it asked for and complained of."""

    def __init__(self, browser: Browser, address: str, **options: Any) -> None:
        before = options.pop("before", "")
        self.page: Page = browser.new_page(**{"viewport": DESKTOP, **options})
        self.page.set_default_timeout(PATIENCE_MS)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self.complaints.append(said.text))
        if before:
            self.page.add_init_script(before)
        self.page.goto(address)

    def _note(self, request: Request) -> None:
        if not request.url.startswith("blob:"):  # the worker, which is a text of the page's own
            self.requests.append(request.url)

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def number(self, selector: str) -> int:
        return int(self.text(selector))

    def served(self, kind: str) -> int:
        """Return the packets that something made."""
        return self.number(f"#times-{kind} td:nth-child(2)")

    def serves(self, kind: str, packets: int) -> None:
        """Wait until it has made more packets than that."""
        self.page.wait_for_function(
            "([kind, count]) => Number(document.querySelector("
            "`#times-${kind} td:nth-child(2)`).textContent) > count",
            arg=[kind, packets],
        )

    def engine(self, text: str) -> None:
        """Wait until the page says that of its engine."""
        self.page.wait_for_function(
            "text => document.querySelector('#engine').textContent.includes(text)", arg=text
        )

    def choose(self, name: str, value: str) -> None:
        self.page.check(f"input[name={name}][value={value}]", force=True)

    def slide(self, name: str, value: float) -> None:
        self.page.fill(f"#{name}", str(value))

    def start(self) -> None:
        self.page.click("#start:enabled")
        self.played(5)

    def played(self, packets: int) -> None:
        """Wait until more packets were played since the last change."""
        self.page.wait_for_function(
            "count => document.querySelector('#trouble').hidden === false || "
            "Number(document.querySelector('#packets').textContent) >= count",
            arg=packets,
        )
        assert not self.page.is_visible("#trouble"), self.text("#trouble")

    def trouble(self) -> str:
        self.page.wait_for_selector("#trouble:visible")
        return self.text("#trouble")

    def settled(self, text: str) -> None:
        self.page.wait_for_function(
            "text => document.querySelector('#state').textContent.includes(text)", arg=text
        )

    def close(self, requests: int = 1) -> None:
        """Close it; nothing may have been asked for but the page."""
        self.page.close()
        assert len(self.requests) == requests, self.requests
        assert not self.complaints


# The rows of a picture's pixels, by way of a copy.
PIXELS = """side => {
  const from = document.querySelector('#picture-' + side);
  const copy = new OffscreenCanvas(from.width, from.height);
  const context = copy.getContext('2d', { willReadFrequently: true });
  context.drawImage(from, 0, 0);
  const { data } = context.getImageData(0, 0, from.width, from.height);
  return Array.from({ length: from.height }, (_, y) => Array.from({ length: from.width },
    (_, x) => [...data.subarray(4 * (y * from.width + x), 4 * (y * from.width + x) + 3)]));
}"""


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_clip_plays_through_the_worklet(opened: Open, scheme: str) -> None:
    visit = opened(scheme)
    visit.slide("share", 20)
    visit.start()
    visit.settled("Playing: Music")
    visit.played(150)
    packets, lost, concealed = visit.page.evaluate(
        "['packets', 'lost', 'concealed'].map((id) => "
        "Number(document.getElementById(id).textContent))"
    )
    assert 0.05 < lost / packets < 0.4
    assert concealed == lost
    for kind in ("received", "prediction"):
        assert visit.served(kind) > 0
        times = [visit.text(f"#times-{kind} td:nth-child({k})") for k in (3, 4, 5)]
        assert all(time.removeprefix("< ").isdigit() for time in times), times
    assert visit.served("speech") == visit.served("music") == visit.served("bridges") == 0
    assert 20 <= visit.number("#delay") <= 600
    for side in ("in", "out"):
        level = visit.page.get_attribute(f"#level-{side}", "aria-valuenow")
        assert -40 < int(level or 0) < 0
    # Both pictures have been drawn, and mark the same packets.
    marks = visit.page.evaluate(f"['in', 'out'].map(side => ({PIXELS})(side).at(-1))")
    reds = [[pixel[0] > 200 for pixel in row] for row in marks]
    assert sum(reds[0]) > 3
    assert reds[0] == reds[1]
    visit.page.click("#start")
    visit.settled("Stopped")
    visit.page.wait_for_timeout(500)  # the figures are shown five times a second
    stood = visit.number("#packets")
    visit.page.wait_for_timeout(500)
    assert visit.number("#packets") == stood
    visit.close()


# Samples of what the worklet plays, taken by an analyser at the end of the graph.
LISTEN = """
const Original = window.AudioWorkletNode;
window.AudioWorkletNode = class extends Original {
  constructor(context, ...rest) {
    super(context, ...rest);
    window.analyser = new AnalyserNode(context, { fftSize: 32768 });
    this.connect(window.analyser);
  }
};
"""
HEARD = (
    "() => { const x = new Float32Array(32768); analyser.getFloatTimeDomainData(x); "
    "return [...x]; }"
)


def heard(visit: Visit) -> Any:
    """Return 0.7 s that the worklet played without a dropout, as busy machines make them."""
    for _ in range(10):
        before = visit.number("#dropouts")
        visit.played(visit.number("#packets") + 60)  # 1.2 s
        newest = np.array(visit.page.evaluate(HEARD))
        visit.page.wait_for_timeout(300)  # until dropouts of that time are shown
        if visit.number("#dropouts") == before:
            break
    return newest


def test_the_keys_choose_what_is_heard(opened: Open) -> None:
    visit = opened(before=LISTEN)
    visit.slide("share", 30)
    visit.slide("packet", 3)  # 20 ms
    visit.page.wait_for_selector("#start:enabled")
    visit.page.keyboard.press("Space")
    gaps = {}
    for key, name in (("e", "original"), ("a", "silence"), ("b", "repetition"), ("d", "plc")):
        visit.page.keyboard.press(key)
        assert visit.text("#heard") == name
        assert visit.page.is_checked(f"input[name=lane][value={name}]")
        visit.played(5)
        gaps[name] = np.mean(heard(visit) == 0.0)
    assert 0.05 < gaps["silence"] < 0.7
    assert all(gaps[name] < 0.02 for name in ("original", "repetition", "plc")), gaps
    visit.page.click("summary")
    visit.page.uncheck("#keys")
    visit.page.keyboard.press("a")
    assert visit.text("#heard") == "plc"
    visit.close()


def test_sliders_take_effect_while_it_plays(opened: Open) -> None:
    visit = opened()
    visit.slide("share", 0)
    visit.start()
    visit.played(60)
    assert visit.number("#lost") == 0
    visit.page.keyboard.press("l")
    visit.page.wait_for_function(
        "() => document.querySelector('#lost').textContent === '5'"
    )  # 100 ms
    visit.slide("share", 50)
    visit.slide("burst", 1)
    visit.page.wait_for_function("() => Number(document.querySelector('#lost').textContent) > 20")
    assert visit.text("#share-said") == "50 %"
    visit.slide("packet", 2)
    visit.engine("may take 7.5 ms")
    visit.played(50)
    assert visit.text("#packet-said") == "10 ms"
    visit.page.click("summary")
    visit.page.select_option("#lookahead", "2")
    visit.page.select_option("#rung", "11")
    visit.engine("12 of 12")
    assert visit.text("#rung-said") == ", rung 12 of 12"
    visit.played(50)
    assert visit.number("#concealed") > 0
    visit.close()


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_the_microphone_plays(opened: Open, scheme: str) -> None:
    visit = opened(scheme, before=LISTEN)
    visit.choose("source", "microphone")
    visit.page.wait_for_selector("#with-microphone:visible")
    visit.start()
    visit.settled("Playing: Microphone")
    visit.page.wait_for_function(f"() => Math.max(...({HEARD})()) > 0.01")
    visit.choose("source", "speech")  # while it plays
    visit.settled("Playing: Speech")
    visit.played(30)
    visit.close()


def test_a_file_is_chosen_and_another_dropped(opened: Open, tmp_path: Path) -> None:
    chosen, dropped = tmp_path / "two.wav", tmp_path / "one.flac"
    stereo = np.stack([tones(c, 44_100, 44_100) for c in range(2)], axis=-1)
    soundfile.write(chosen, stereo, 44_100)
    soundfile.write(dropped, tones(1, 16_000, 16_000), 16_000)
    visit = opened("file")
    visit.choose("source", "file")
    visit.page.set_input_files("#file", chosen)
    visit.settled("two.wav")
    visit.played(40)
    assert "stereo" in visit.text("#state")
    drop = (
        "bytes => { const data = new DataTransfer(); "
        "data.items.add(new File([Uint8Array.from(bytes)], 'one.flac')); "
        "for (const kind of ['dragover', 'drop']) document.body.dispatchEvent("
        "new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true})); }"
    )
    visit.page.evaluate(drop, list(dropped.read_bytes()))
    visit.settled("one.flac")
    visit.played(40)
    assert "mono" in visit.text("#state")
    visit.close()


# ---- the networks --------------------------------------------------------------------------------

# A clock in the worker by which whatever is timed takes 1 ms: networks are in time also where the
# machine is busy.
QUICK = "{ let ms = 0; performance.now = () => ms++; }"
WORKER = """
const OwnBlob = window.Blob;
window.Blob = class extends OwnBlob {
  constructor(parts, options) {
    super(options.type === "text/javascript" ? [`BEFORE;`, ...parts] : parts, options);
  }
};
"""


def in_worker(script: str) -> str:
    """Return a page's script that has its worker begin with another."""
    return WORKER.replace("BEFORE", script)


def test_the_network_is_fetched_when_asked_and_serves_speech(
    opened: Open, addresses: dict[str, str]
) -> None:
    visit = opened(before=in_worker(QUICK))
    visit.choose("source", "speech")
    visit.slide("share", 30)
    visit.start()
    visit.played(20)
    assert "No network is asked for." in visit.text("#engine")
    assert len(visit.requests) == 1
    visit.page.check("#network-speech")
    visit.engine("The network “speech” conceals speech.")
    assert visit.requests[1:] == [f"{addresses['http']}speech.plcm"]
    visit.serves("speech", 20)
    assert visit.text("#times-speech td:nth-child(3)").removeprefix("< ").isdigit()
    visit.page.uncheck("#network-speech")
    visit.engine("No network is asked for.")
    visit.page.check("#network-speech")
    visit.engine("The network “speech” conceals speech.")
    visit.close(requests=2)


def test_music_and_bridges_have_networks_of_their_own(
    opened: Open, addresses: dict[str, str]
) -> None:
    visit = opened(before=in_worker(QUICK))
    visit.slide("share", 30)
    visit.slide("burst", 3)
    visit.page.check("#network-music")
    visit.start()
    visit.engine("The network “music” conceals music.")
    visit.serves("music", 10)
    visit.choose("source", "speech")
    visit.page.check("#network-bridges")
    visit.engine("The network “speech-bridge” bridges gaps in speech.")
    assert visit.page.input_value("#lookahead") == "1"  # it is nothing without
    assert "“music” conceals music" in visit.text("#engine")
    visit.serves("bridges", 5)
    names = ("music", "speech-bridge")
    assert visit.requests[1:] == [f"{addresses['http']}{name}.plcm" for name in names]
    visit.page.click("summary")
    visit.page.select_option("#lookahead", "0")
    visit.engine("The network for bridges does not serve: it needs a jitter buffer.")
    visit.page.select_option("#lookahead", "2")
    visit.slide("packet", 5)  # 60 ms
    visit.engine("The network for bridges does not serve: its packets are too long or too short.")
    visit.close(requests=3)


def test_what_a_loss_would_play_is_made_ahead_when_asked(opened: Open) -> None:
    visit = opened(before=in_worker(QUICK))
    visit.start()
    visit.serves("ahead", 20)
    visit.page.click("summary")
    visit.page.uncheck("#prepare")
    visit.engine("No network")
    visit.page.wait_for_function(
        "() => document.querySelector('#times-ahead td:nth-child(2)').textContent === '0'"
    )
    visit.played(30)
    assert visit.served("ahead") == 0
    visit.close()


# A sound output of 8 kHz, as some headsets have.
NARROW = """
const Own = window.AudioContext;
window.AudioContext = class extends Own {
  constructor(options) { super({ ...options, sampleRate: 8000 }); }
};
"""


def test_below_16_khz_the_narrowband_network_is_fetched(
    opened: Open, addresses: dict[str, str]
) -> None:
    visit = opened(before=in_worker(QUICK) + NARROW)
    visit.choose("source", "speech")
    visit.slide("share", 30)
    visit.page.check("#network-speech")
    visit.start()
    assert "The network “speech-narrowband” conceals speech." in visit.text("#engine")
    assert visit.requests[1:] == [f"{addresses['http']}speech-narrowband.plcm"]
    visit.serves("speech", 20)
    visit.page.check("#network-music")
    visit.engine("The network for music does not serve: there is none for this sample rate.")
    visit.close(requests=2)


def test_a_network_that_is_too_slow_for_the_packets_does_not_serve(opened: Open) -> None:
    visit = opened()
    visit.choose("source", "speech")
    visit.slide("packet", 0)  # 2.5 ms
    visit.page.check("#network-speech")
    visit.start()
    visit.played(100)
    assert "does not serve: it takes longer than that here" in visit.text("#engine")
    assert visit.served("speech") == 0
    visit.close(requests=2)


def test_a_network_that_cannot_be_fetched_is_said_and_prediction_plays(opened: Open) -> None:
    visit = opened(before="window.fetch = async () => new Response('no')")
    visit.page.check("#network-speech")
    visit.page.click("#start:enabled")
    assert "The network cannot be fetched" in visit.trouble()
    visit.settled("Playing: Music")
    assert not visit.page.is_checked("#network-speech")
    assert "does not serve: it could not be fetched" in visit.text("#engine")
    visit.close()


def test_a_page_from_a_disk_says_that_it_fetches_nothing(opened: Open) -> None:
    visit = opened("file")
    for use in ("speech", "music", "bridges"):
        visit.page.wait_for_selector(f"#network-{use}:disabled")
    assert "over http alone" in visit.text("#networks-said")
    visit.close()


# ---- what is saved, and the module ---------------------------------------------------------------


def test_what_was_heard_is_saved_as_a_wav_file(opened: Open, tmp_path: Path) -> None:
    visit = opened()
    visit.slide("share", 0)
    assert visit.page.is_disabled("#save")
    visit.start()
    visit.played(100)
    visit.page.click("#start")
    visit.settled("Stopped")
    with visit.page.expect_download() as download:
        visit.page.click("#save:enabled")
    assert download.value.suggested_filename == "heard.wav"
    download.value.save_as(tmp_path / "heard.wav")
    saved, rate = soundfile.read(tmp_path / "heard.wav")
    assert rate == visit.page.evaluate("new AudioContext().sampleRate")
    assert 100 * 0.02 <= saved.size / rate < 60.0
    assert np.sqrt(np.mean(saved**2)) > 0.01
    visit.close()


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_modules_example_conceals_what_a_codec_lost(
    browser: Browser, addresses: dict[str, str], size: dict[str, int]
) -> None:
    address = addresses["http"]
    visit = Visit(browser, f"{address}plc.html", viewport=size)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert "new Receiver(await fetchModel(sampleRate))" in visit.text("#source")
    visit.page.click("#run")
    visit.page.wait_for_selector("#play-concealed:enabled")
    counters = json.loads(visit.text("#result"))
    assert counters["packets"] >= 200
    assert counters["lostPackets"] == 20
    assert counters["concealedSamples"] == 20 * 960
    assert counters["networkSamples"] > 0
    visit.page.click("#play-concealed")
    visit.page.click("#play-lost")
    assert visit.requests == [f"{address}{name}" for name in ("plc.html", "plc.mjs", "speech.plcm")]
    visit.close(requests=3)


# ---- the audio thread ----------------------------------------------------------------------------


@pytest.mark.realtime
@pytest.mark.parametrize("source", ["speech", "music"])
def test_the_audio_thread_only_copies(opened: Open, browser: Browser, source: str) -> None:
    """A call for 128 samples has 2.7 ms; a lost packet takes longer."""
    visit = opened(before=in_worker(QUICK))
    visit.choose("source", source)
    visit.slide("share", 20)
    visit.page.check(f"#network-{source}")
    visit.start()
    visit.serves(source, 5)
    kinds = ["webaudio", "disabled-by-default-webaudio.audionode"]
    browser.start_tracing(page=visit.page, categories=kinds)
    visit.page.wait_for_timeout(10_000)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    name = "AudioWorkletHandler::Process"
    calls_us = [each["tdur"] for each in events if each["name"] == name and "tdur" in each]
    assert len(calls_us) > 1000
    assert np.quantile(calls_us, 0.999) < 1000.0
    visit.close(requests=2)


# ---- what goes wrong -----------------------------------------------------------------------------


def test_a_file_that_is_no_sound_is_named(opened: Open, tmp_path: Path) -> None:
    wrong = tmp_path / "letter.wav"
    wrong.write_text("Dear reader")
    visit = opened()
    visit.page.set_input_files("#file", wrong)
    assert "letter.wav cannot be decoded" in visit.trouble()
    visit.settled("Stopped")
    visit.choose("source", "music")  # the trouble is over with the next start
    visit.start()
    assert not visit.page.is_visible("#trouble")
    visit.close()


def test_no_file_at_all_is_said(opened: Open) -> None:
    visit = opened()
    visit.choose("source", "file")
    visit.page.click("#start:enabled")
    assert "Choose an audio file first" in visit.trouble()
    visit.close()


def test_a_refused_microphone_is_said(playwright: Any, addresses: dict[str, str]) -> None:
    browser = launched(
        playwright, "--use-fake-device-for-media-stream", "--deny-permission-prompts"
    )
    visit = Visit(browser, addresses["http"])
    visit.choose("source", "microphone")
    visit.page.click("#start:enabled")
    assert "The microphone was refused" in visit.trouble()
    visit.settled("Stopped")
    visit.close()
    browser.close()


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (
            "navigator.mediaDevices.getUserMedia = async () => "
            "{ throw new DOMException('', 'NotFoundError') }",
            "No microphone was found",
        ),
        (
            "navigator.mediaDevices.getUserMedia = async () => "
            "{ throw new DOMException('', 'NotReadableError') }",
            "Another program may use it",
        ),
        (
            "Object.defineProperty(navigator, 'mediaDevices', {value: undefined})",
            "no page from this address",
        ),
        ("delete BaseAudioContext.prototype.audioWorklet", "no AudioWorklet"),
        (
            "delete BaseAudioContext.prototype.audioWorklet; "
            "Object.defineProperty(window, 'isSecureContext', {value: false})",
            "Open the page from http://localhost",
        ),
    ],
)
def test_what_the_browser_lacks_is_said(opened: Open, before: str, said: str) -> None:
    visit = opened(before=before)
    visit.choose("source", "microphone")
    visit.page.click("#start:enabled")
    assert said in visit.trouble()
    visit.close()


def test_an_engine_that_stops_is_said_and_can_be_started_again(opened: Open) -> None:
    stops = in_worker("setTimeout(() => { throw new Error('no') }, 5000)")
    visit = opened(before=stops)
    visit.start()
    assert "The engine stopped. Start it again. (Uncaught Error: no)" in visit.trouble()
    visit.settled("Stopped")
    visit.start()
    assert not visit.page.is_visible("#trouble")
    visit.close()


def test_a_browser_without_webassembly_cannot_start(opened: Open) -> None:
    before = "WebAssembly.compile = async () => { throw new WebAssembly.CompileError('SIMD') }"
    visit = opened(before=before)
    assert "needs WebAssembly with SIMD" in visit.trouble()
    assert visit.page.is_disabled("#start")
    visit.close()


# ---- how it looks --------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_fits_and_can_be_read(opened: Open, size: dict[str, int], scheme: str) -> None:
    visit = opened(viewport=size, color_scheme=scheme)
    visit.page.click("summary")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    small = visit.page.evaluate(
        "[...document.querySelectorAll('button, .choice span, select')]"
        ".filter(each => each.getBoundingClientRect().height < 38).length"
    )
    assert small == 0
    # Contrast of text with what it stands on: WCAG AA, 4.5.
    ratios = visit.page.evaluate(
        """() => {
          const light = (text) => {
            const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
              .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const ground = (each) => {
            for (let at = each; at; at = at.parentElement) {
              const colour = getComputedStyle(at).backgroundColor;
              if (!/, 0\\)$/.test(colour)) return colour;
            }
          };
          const texts = 'h1, h2, p, .choice span, button, label, output, td, th, dt, dd, a';
          return [...document.querySelectorAll(texts)]
            .filter((each) => each.offsetParent && each.innerText && !each.disabled)
            .map((each) => [getComputedStyle(each).color, ground(each), each.innerText])
            .map(([ink, paper, text]) => [light(ink), light(paper), text])
            .map(([a, b, text]) => [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), text]);
        }"""
    )
    assert len(ratios) > 30
    assert min(ratios)[0] >= 4.5, min(ratios)
    visit.close()


def test_every_control_has_a_name_and_can_be_reached_by_keyboard(opened: Open) -> None:
    visit = opened()
    visit.page.wait_for_selector("#start:enabled")
    visit.page.evaluate("document.querySelector('details').open = true")
    reached = []
    for _ in range(24):
        visit.page.keyboard.press("Tab")
        reached.append(
            visit.page.evaluate("document.activeElement.id || document.activeElement.name")
        )
    wanted = [
        "start",
        "source",
        "lane",
        "network-speech",
        "network-music",
        "network-bridges",
        "share",
        "burst",
        "packet",
        "gap",
        "lookahead",
        "rung",
        "prepare",
        "keys",
    ]
    assert [name for name in reached if name in wanted][: len(wanted)] == wanted
    nameless = visit.page.evaluate(
        "[...document.querySelectorAll('input, select, button, canvas, [role=meter]')]"
        ".filter(each => !each.labels?.length && !each.innerText)"
        ".filter(each => !each.getAttribute('aria-label')).map(each => each.outerHTML)"
    )
    assert nameless == []
    # Arrows move through a group of choices, and keys that belong to a control stay with it.
    visit.page.focus("input[name=lane][value=plc]")
    visit.page.keyboard.press("ArrowUp")
    assert visit.text("#heard") == "plc, from the past"
    visit.page.focus("#share")
    visit.page.keyboard.press("ArrowRight")
    assert visit.text("#share-said") == "11 %"
    visit.close()


def test_a_reader_who_prefers_little_motion_sees_a_picture_that_stands(opened: Open) -> None:
    visit = opened(reduced_motion="reduce")
    visit.start()
    visit.played(20)
    column = f"({PIXELS})('in').map(row => row[5].join())"
    before = visit.page.evaluate(column)
    visit.played(60)
    assert visit.page.evaluate(column) == before
    assert len(set(before)) > 3
    visit.close()
