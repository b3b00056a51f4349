// The page: what the reader chose, the audio graph that plays it, and the figures.

import { Level, clockStep } from "./figures.mjs";
import { BUFFER_S, Mirror, RUNGS, affordableRung, affordsNetwork, limitOf, warm } from "./measure.mjs";
import { Picture } from "./picture.mjs";
import { fetchModel, modelFor } from "./plc.mjs";
import { Recorder } from "./recorder.mjs";
import { Refusal, openBytes, openFile, openMicrophone } from "./sources.mjs";

const PACKETS_MS = [2.5, 5, 10, 20, 40, 60, 120];
const GAP_MS = 100;
const FADE_S = 0.015;
const FIGURES_MS = 200;
// A browser may take so long to begin to write a file.
const KEEP_MS = 60_000;
const CLIPS = { music: "Music", speech: "Speech" };
const SPOKEN = { silence: "silence", repetition: "repetition", plc: "plc", original: "original" };

const $ = (id) => document.getElementById(id);
const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;
const choose = (name, value) => {
  document.querySelector(`input[name="${name}"][value="${value}"]`).checked = true;
};
const bytesOf = (id) => Uint8Array.from(atob($(id).textContent), (letter) => letter.charCodeAt(0));

const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const pictures = {
  in: new Picture($("picture-in"), { tinted: true, still }),
  out: new Picture($("picture-out"), { still }),
};
const levels = { in: new Level(), out: new Level() };
const rungs = new Map();
const affords = new Map();
// Files of networks, by name.
const models = new Map();

let module = null;
let recorder = null;
let context = null;
let volume = null;
let source = null;
let sourceKey = "";
let file = null;
let node = null;
let stream = null;
let running = false;
let playing = "";
let counted = { packets: 0, lost: 0, concealed: 0, concealedSamples: 0, networkSamples: 0 };

// ---- what the reader chose ----------------------------------------------------------------------

const losses = () => ({ share: Number($("share").value) / 100, burst: Number($("burst").value) });
const packetMs = () => PACKETS_MS[Number($("packet").value)];

function say() {
  const { share, burst } = losses();
  $("share-said").textContent = `${Math.round(100 * share)} %`;
  $("burst-said").textContent = `${burst} ${burst === 1 ? "packet" : "packets"}`;
  $("packet-said").textContent = `${packetMs()} ms`;
  $("packet").setAttribute("aria-valuetext", `${packetMs()} ms`);
  $("heard").textContent = SPOKEN[chosen("lane")];
  $("with-microphone").hidden = chosen("source") !== "microphone";
  $("with-file").hidden = chosen("source") !== "file";
}

function state(text) {
  $("state").textContent = text;
}

function tell(error) {
  $("trouble").textContent = error instanceof Refusal ? error.message : `${error.message ?? error}`;
  $("trouble").hidden = false;
}

function show(playing) {
  $("start").textContent = playing ? "Stop" : "Start";
  $("start").setAttribute("aria-pressed", String(playing));
}

// ---- the audio graph ----------------------------------------------------------------------------

let busy = false;
let stale = false;

// Brings the graph to what the reader chose. Changes that come meanwhile are brought in after it.
async function refresh() {
  stale = true;
  if (busy) return;
  busy = true;
  try {
    while (stale) {
      stale = false;
      await (running ? play() : halt());
    }
  } catch (error) {
    running = false;
    stale = false;
    await halt();
    tell(error);
  } finally {
    busy = false;
  }
}

async function halt() {
  show(false);
  await hush();
  dropNode();
  closeSource();
  await context?.suspend();
  state("Stopped");
}

async function play() {
  show(true);
  state("Preparing…");
  $("trouble").hidden = true;
  await openContext();
  await hush();
  dropNode();
  await openSource();
  const settings = await settingsOf();
  if (stale) return;
  openNode(settings);
  source.node.connect(node).connect(volume);
  // Where the browser waits for the reader, it goes on with the next press of a button.
  context.resume();
  const rate = `${settings.sampleRate / 1000} kHz`;
  const channels = settings.channels === 1 ? "mono" : "stereo";
  state("Waiting for the sound output…");
  playing = `Playing: ${source.title}, ${rate}, ${channels}`;
  volume.gain.setTargetAtTime(1, context.currentTime, FADE_S / 3);
}

// Fades out, so that what is changed next makes no click.
async function hush() {
  if (!node || context.state !== "running") return;
  volume.gain.cancelScheduledValues(context.currentTime);
  volume.gain.setTargetAtTime(0, context.currentTime, FADE_S / 3);
  await new Promise((resume) => setTimeout(resume, 1000 * 3 * FADE_S));
}

async function openContext() {
  if (context) return;
  if (!("audioWorklet" in (window.AudioContext?.prototype ?? {}))) {
    throw new Refusal(window.isSecureContext
      ? "This browser has no AudioWorklet, which the page needs. Browsers of 2021 and later have it."
      : "Browsers give a page from this address no AudioWorklet. Open the page from " +
        "http://localhost, from https, or as a file.");
  }
  const opened = new AudioContext({ latencyHint: BUFFER_S });
  const script = `data:text/javascript;charset=utf-8,${encodeURIComponent($("worklet").textContent)}`;
  try {
    await opened.audioWorklet.addModule(script);
  } catch (error) {
    await opened.close();
    throw new Refusal(`The browser does not load the AudioWorklet: ${error.message}`);
  }
  context = opened;
  volume = new GainNode(context, { gain: 0 });
  volume.connect(context.destination);
}

async function openSource() {
  const kind = chosen("source");
  const key = kind === "file" ? `file ${file?.name} ${file?.size} ${file?.lastModified}` : kind;
  if (source && key === sourceKey) return;
  closeSource();
  if (kind === "microphone") {
    source = await openMicrophone(context, () => {
      running = false;
      refresh();
      tell(new Refusal("The microphone went away."));
    });
  } else if (kind === "file") {
    if (!file) throw new Refusal("Choose an audio file first, or drop one on the page.");
    source = await openFile(context, file);
  } else {
    source = await openBytes(context, bytesOf(`clip-${kind}`).buffer, CLIPS[kind]);
  }
  sourceKey = key;
}

function closeSource() {
  source?.node.disconnect();
  source?.close();
  source = null;
  sourceKey = "";
}

// What the stream is opened with, and what became of the wish for a network.
async function settingsOf() {
  const { sampleRate } = context;
  const settings = {
    sampleRate,
    channels: source.channels,
    packetSamples: Math.round((packetMs() / 1000) * sampleRate),
    lookahead: Number($("lookahead").value),
    seed: 1,
  };
  settings.rung = await rungOf(settings);
  const network = await networkOf(settings);
  const name = modelFor(sampleRate);
  return { ...settings, model: network === "" ? models.get(name) : null, network, name };
}

async function rungOf(settings) {
  const wanted = $("rung").value;
  if (wanted === "auto") return kept(rungs, settings, affordableRung);
  await warm(module, { ...settings, rung: Number(wanted) });
  return Number(wanted);
}

// Why no network serves, or nothing if it does.
async function networkOf(settings) {
  if (!$("network").checked) return "not asked for";
  const name = modelFor(settings.sampleRate);
  if (name === null) return "there is none for this sample rate";
  if (!models.has(name) && !(await fetchNetwork(name, settings.sampleRate))) {
    return "it could not be fetched";
  }
  const model = models.get(name);
  const fast = await kept(affords, settings, (_, each) => affordsNetwork(module, { ...each, model }));
  return fast ? "" : "it takes longer than that here";
}

async function fetchNetwork(name, sampleRate) {
  state("Fetching the network…");
  try {
    models.set(name, await fetchModel(sampleRate));
  } catch {
    $("network").checked = false;
    tell(new Refusal(`The network cannot be fetched. Is ${name}.plcm beside the page, whole, and ` +
      "does its server still run?"));
  }
  return models.has(name);
}

// What a function says of settings, asked once.
async function kept(answers, settings, ask) {
  const key = JSON.stringify(settings);
  if (!answers.has(key)) answers.set(key, await ask(module, settings));
  return answers.get(key);
}

function openNode(settings) {
  const { channels, packetSamples, sampleRate, rung, network, name } = settings;
  node = new AudioWorkletNode(context, "plc", {
    channelCount: channels,
    channelCountMode: "explicit",
    outputChannelCount: [channels],
    processorOptions: { module, settings, losses: { ...losses(), seed: 1 }, lane: chosen("lane") },
  });
  node.onprocessorerror = () => {
    running = false;
    refresh();
    tell(new Refusal("The engine stopped in the audio thread. Start it again."));
  };
  if (recorder?.channels !== channels) recorder = new Recorder(sampleRate, channels);
  stream = { samples: channels * packetSamples, channels, mirror: new Mirror(module, settings) };
  node.port.onmessage = ({ data }) => take(data);
  pictures.in.open(sampleRate);
  pictures.out.open(sampleRate);
  $("span").textContent = `The pictures show the last ${pictures.in.seconds.toFixed(1)} s.`;
  $("engine").textContent =
    `Packets of ${packetSamples} samples. Prediction: rung ${rung + 1} of ${RUNGS}` +
    `${rung === 0 ? ", the best" : ""}. A lost packet should take at most ` +
    `${Math.round(limitOf(settings))} µs. ` +
    (network === "" ? `The network “${name}” conceals speech.` : `The network does not serve: ${network}.`);
}

function dropNode() {
  if (!node) return;
  node.port.onmessage = null;
  node.onprocessorerror = null;
  node.port.postMessage({ end: true });
  node.disconnect();
  source?.node.disconnect();
  node = null;
  playing = "";
}

// ---- what the worklet reports -------------------------------------------------------------------

function take(report) {
  const { samples, packetsInReport: each } = report;
  const { samples: n, channels, mirror } = stream;
  for (let k = 0; k < each; k++) {
    const lost = samples[k] === 1;
    const original = each + k * n;
    const played = original + each * n;
    pictures.in.push(samples, original, original + n, channels, lost);
    pictures.out.push(samples, played, played + n, channels, lost);
    levels.in.push(samples, original, original + n);
    levels.out.push(samples, played, played + n);
    recorder.push(samples, played, played + n);
    mirror.push(samples.subarray(original, original + n), lost);
  }
  counted = report;
  if (playing) state(playing);
  playing = "";
  node.port.postMessage({ samples }, [samples.buffer]);
}

function showFigures() {
  for (const side of ["in", "out"]) {
    const db = running ? levels[side].db : -90;
    const meter = $(`level-${side}`);
    const silent = db < -60;
    meter.setAttribute("aria-valuenow", String(Math.round(Math.max(-60, db))));
    meter.setAttribute("aria-valuetext", silent ? "silence" : `${Math.round(db)} dB`);
    meter.firstElementChild.style.transform = `scaleX(${silent ? 0 : 1 + db / 60})`;
    meter.nextElementSibling.textContent = silent ? "–" : `${Math.round(db)} dB`.replace("-", "−");
  }
  if (!stream) return;
  $("save").disabled = !recorder?.seconds;
  $("packets").textContent = counted.packets;
  $("lost").textContent = counted.lost;
  $("lost-share").textContent =
    counted.packets ? `${((100 * counted.lost) / counted.packets).toFixed(1)} %` : "";
  $("concealed").textContent = counted.concealed;
  $("by-network").textContent = counted.networkSamples;
  $("by-prediction").textContent = counted.concealedSamples - counted.networkSamples;
  if (context?.playbackStats) $("dropouts").textContent = context.playbackStats.underrunEvents;
  for (const kind of ["received", "lost", "network"]) {
    const summary = stream.mirror[kind].summary();
    const cells = $(`times-${kind}`).querySelectorAll("td");
    ["p50", "p99", "max"].forEach((name, i) => {
      cells[i].textContent = summary ? time(summary[name]) : "–";
    });
  }
}

let clock = 0;
const time = (us) => (us < clock ? `< ${Math.round(clock)}` : String(Math.round(us)));

// ---- the reader's hands -------------------------------------------------------------------------

function toggle() {
  if ($("start").disabled) return;
  running = !running;
  if (running) recorder = null;
  refresh();
}

// What was heard since the last start.
function save() {
  const address = URL.createObjectURL(recorder.wav());
  const link = Object.assign(document.createElement("a"), { href: address, download: "heard.wav" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), KEEP_MS);
}

function give(message) {
  node?.port.postMessage(message);
}

function takeFile(given) {
  file = given;
  choose("source", "file");
  say();
  running = true;
  refresh();
}

function lose() {
  give({ gapPackets: Math.max(1, Math.round(GAP_MS / packetMs())) });
}

function listen() {
  $("start").addEventListener("click", toggle);
  $("gap").addEventListener("click", lose);
  $("save").addEventListener("click", save);
  $("lanes").addEventListener("change", () => {
    say();
    give({ lane: chosen("lane") });
  });
  for (const id of ["share", "burst"]) {
    $(id).addEventListener("input", () => {
      say();
      give({ losses: losses() });
    });
  }
  let soon = 0;
  $("packet").addEventListener("input", () => {
    say();
    clearTimeout(soon);
    soon = setTimeout(() => running && refresh(), 150);
  });
  $("sources").addEventListener("change", ({ target }) => {
    if (target.name !== "source") return;
    say();
    if (running && (target.value !== "file" || file)) refresh();
  });
  $("file").addEventListener("change", () => $("file").files[0] && takeFile($("file").files[0]));
  for (const id of ["lookahead", "rung", "network"]) {
    $(id).addEventListener("change", () => running && refresh());
  }
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("select, input[type=file], summary");
    if (!$("keys").checked || typing || event.ctrlKey || event.altKey || event.metaKey) return;
    const lane = { a: "silence", b: "repetition", c: "plc", d: "original" }[event.key.toLowerCase()];
    if (lane) {
      choose("lane", lane);
      $("lanes").dispatchEvent(new Event("change"));
    } else if (event.key.toLowerCase() === "l") {
      lose();
    } else if (event.key === " " && !event.target.closest("button, input:not([type=range])")) {
      event.preventDefault();
      toggle();
    }
  });
  const withFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!withFile(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    if (!withFile(event)) return;
    event.preventDefault();
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files[0]) takeFile(event.dataTransfer.files[0]);
  });
}

async function begin() {
  for (let rung = 0; rung < RUNGS; rung++) {
    const best = rung === 0 ? " (best)" : rung === RUNGS - 1 ? " (cheapest)" : "";
    $("rung").append(new Option(`rung ${rung + 1} of ${RUNGS}${best}`, String(rung)));
  }
  say();
  listen();
  clock = clockStep();
  $("clock").textContent = `Steps of this browser’s clock: ${Math.round(clock)} µs.`;
  if (location.protocol === "file:") {
    $("network").disabled = true;
    $("network-said").textContent = "2.4 MB, over http alone: browsers let a file read no other";
  }
  $("dropouts-cell").hidden = !("playbackStats" in (window.AudioContext?.prototype ?? {}));
  setInterval(showFigures, FIGURES_MS);
  try {
    module = await WebAssembly.compile(bytesOf("wasm"));
  } catch (error) {
    state("The engine does not run here.");
    tell(new Refusal("This browser cannot run the engine. It needs WebAssembly with SIMD, which " +
      `browsers of 2023 and later have. (${error.message})`));
    return;
  }
  $("start").disabled = false;
  state("Ready. Press Start.");
}

begin();
