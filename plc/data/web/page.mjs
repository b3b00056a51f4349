// The page: what the reader chose, the audio graph that plays it, and the figures.

import { Level, clockStep } from "./figures.mjs";
import { RUNGS, limitOf } from "./measure.mjs";
import { Picture } from "./picture.mjs";
import { fetchModel, modelFor } from "./plc.mjs";
import { Recorder } from "./recorder.mjs";
import { Refusal, openBytes, openFile, openMicrophone } from "./sources.mjs";

// The browser's buffer of audio.
const BUFFER_S = 0.02;
const PACKETS_MS = [2.5, 5, 10, 20, 40, 60, 120];
const GAP_MS = 100;
const FADE_S = 0.015;
const SHOWN_MS = 200;
// A browser may take so long to begin to write a file.
const KEEP_MS = 60_000;
const CLIPS = { music: "Music", speech: "Speech" };
const SPOKEN = {
  silence: "silence", repetition: "repetition", past: "plc, from the past", plc: "plc", original: "original",
};
// What networks are for, and what they do then.
const DOES = { speech: "conceals speech", music: "conceals music", bridges: "bridges gaps in speech" };

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
// The names of networks that the worker has.
const atHand = new Set();

let module = null;
let recorder = null;
let context = null;
let volume = null;
let source = null;
let sourceKey = "";
let file = null;
let node = null;
let stream = null;
let worker = null;
let answered = null;
let running = false;
let playing = "";
let counted = null;
let output = { delayS: 0, dropouts: 0 };

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

// ---- the worker ---------------------------------------------------------------------------------

function openWorker() {
  if (worker) return;
  const script = new Blob([$("worker").textContent], { type: "text/javascript" });
  const address = URL.createObjectURL(script);
  worker = new Worker(address);
  worker.onmessage = ({ data }) => hear(data);
  worker.onerror = (event) => {
    event.preventDefault();
    stopped(new Refusal(`The engine stopped. Start it again. (${event.message})`));
  };
  worker.postMessage({ compiled: module });
}

// What it says: the answer to what was asked, or what the engine did.
function hear({ answer, refused, samples, figures }) {
  if (samples) take(samples);
  else if (figures) counted = figures;
  else if (refused !== undefined) answered?.reject(new Error(refused));
  else answered?.resolve(answer);
}

// Asks it one question, and waits for the answer.
function ask(question, transfer = []) {
  return new Promise((resolve, reject) => {
    answered = { resolve, reject };
    worker.postMessage(question, transfer);
  });
}

function stopped(error) {
  answered?.reject(error);
  answered = null;
  worker?.terminate();
  worker = null;
  atHand.clear();
  running = false;
  refresh();
  tell(error);
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
  openWorker();
  await hush();
  dropNode();
  await openSource();
  const settings = await settingsOf();
  if (stale) return;
  await openNode(settings);
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

// What the stream is opened with: settings, the names of its networks by what they are for, and why
// others that were asked for do not serve.
async function settingsOf() {
  const { sampleRate } = context;
  const settings = {
    sampleRate,
    channels: source.channels,
    packetSamples: Math.round((packetMs() / 1000) * sampleRate),
    lookahead: Number($("lookahead").value),
    seed: 1,
  };
  const names = {};
  const lacks = {};
  for (const use of Object.keys(DOES).filter((each) => $(`network-${each}`).checked)) {
    const name = modelFor(sampleRate, use);
    if (name === null) lacks[use] = "there is none for this sample rate";
    else if (use === "bridges" && !settings.lookahead) lacks[use] = "it needs a jitter buffer";
    else if (!(await fetchNetwork(use, name))) lacks[use] = "it could not be fetched";
    else names[use] = name;
  }
  state("Measuring…");
  const { rung, fast } = await ask({ measure: { settings, rung: $("rung").value, names } });
  for (const use of Object.keys(names)) if (!fast[use]) lacks[use] = "it takes longer than that here";
  return { ...settings, rung, names: fast, lacks };
}

// Fetches a network, unless it is here; returns whether it is.
async function fetchNetwork(use, name) {
  if (atHand.has(name)) return true;
  state("Fetching the network…");
  try {
    const bytes = await fetchModel(context.sampleRate, [use]);
    await ask({ fetched: { name, bytes } });
    atHand.add(name);
  } catch {
    $(`network-${use}`).checked = false;
    tell(new Refusal(`The network cannot be fetched. Is ${name}.plcm beside the page, whole, and ` +
      "does its server still run?"));
  }
  return atHand.has(name);
}

async function openNode({ names, lacks, ...settings }) {
  const { channels, packetSamples, sampleRate } = settings;
  const { port1, port2 } = new MessageChannel();
  const begin = {
    settings: { ...settings, prepare: $("prepare").checked },
    names: Object.values(names),
    losses: { ...losses(), seed: 1 },
    lane: chosen("lane"),
    port: port1,
  };
  const serving = await ask({ open: begin }, [port1]);
  node = new AudioWorkletNode(context, "plc", {
    channelCount: channels,
    channelCountMode: "explicit",
    outputChannelCount: [channels],
    processorOptions: { channels, packetSamples },
  });
  node.onprocessorerror = () => stopped(new Refusal("The audio thread stopped. Start it again."));
  node.port.onmessage = ({ data }) => { output = data; };
  node.port.postMessage({ worker: port2 }, [port2]);
  if (recorder?.channels !== channels) recorder = new Recorder(sampleRate, channels);
  stream = { samples: channels * packetSamples, channels };
  counted = null;
  output = { delayS: 0, dropouts: 0 };
  pictures.in.open(sampleRate);
  pictures.out.open(sampleRate);
  $("span").textContent = `The pictures show the last ${pictures.in.seconds.toFixed(1)} s.`;
  explain(settings, names, serving, lacks);
}

// Says what the stream conceals with.
function explain(settings, names, serving, lacks) {
  const { packetSamples, rung } = settings;
  for (const use of Object.keys(names)) if (!serving.includes(use)) lacks[use] = "its packets are too long or too short";
  const said = [
    `Packets of ${packetSamples} samples. Prediction: rung ${rung + 1} of ${RUNGS}${rung === 0 ? ", the best" : ""}.`,
    `A lost packet may take ${(limitOf(settings) / 1000).toFixed(1)} ms.`,
    ...serving.map((use) => `The network “${names[use]}” ${DOES[use]}.`),
    ...Object.entries(lacks).map(([use, why]) => `The network for ${use} does not serve: ${why}.`),
  ];
  if (!serving.length && !Object.keys(lacks).length) said.push("No network is asked for.");
  $("engine").textContent = said.join(" ");
  $("rung-said").textContent = `, rung ${rung + 1} of ${RUNGS}`;
}

function dropNode() {
  if (!node) return;
  node.port.onmessage = null;
  node.onprocessorerror = null;
  node.port.postMessage({ end: true });
  worker?.postMessage({ close: true });
  node.disconnect();
  source?.node.disconnect();
  node = null;
  playing = "";
}

// ---- what the worker reports --------------------------------------------------------------------

function take(samples) {
  if (!node) return;
  const { samples: n, channels } = stream;
  const each = samples.length / (1 + 2 * n);
  for (let k = 0; k < each; k++) {
    const lost = samples[k] === 1;
    const original = each + k * n;
    const played = original + each * n;
    pictures.in.push(samples, original, original + n, channels, lost);
    pictures.out.push(samples, played, played + n, channels, lost);
    levels.in.push(samples, original, original + n);
    levels.out.push(samples, played, played + n);
    recorder.push(samples, played, played + n);
  }
  if (playing) state(playing);
  playing = "";
  worker.postMessage({ samples }, [samples.buffer]);
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
  $("save").disabled = !recorder?.seconds;
  if (!counted) return;
  const { packets, lost, concealed, times } = counted;
  $("packets").textContent = packets;
  $("lost").textContent = lost;
  $("lost-share").textContent = packets ? `${((100 * lost) / packets).toFixed(1)} %` : "";
  $("concealed").textContent = concealed;
  $("delay").textContent = Math.round(1000 * output.delayS);
  $("dropouts").textContent = output.dropouts + (context?.playbackStats?.underrunEvents ?? 0);
  for (const [kind, count, summary] of times) {
    const cells = $(`times-${kind}`).querySelectorAll("td");
    cells[0].textContent = count;
    ["p50", "p99", "max"].forEach((name, i) => {
      cells[i + 1].textContent = summary ? time(summary[name]) : "–";
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

function give(order) {
  worker?.postMessage(order);
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
  $("network-bridges").addEventListener("change", ({ target }) => {
    if (target.checked && $("lookahead").value === "0") $("lookahead").value = "1";
  });
  for (const id of ["lookahead", "rung", "prepare", ...Object.keys(DOES).map((use) => `network-${use}`)]) {
    $(id).addEventListener("change", () => running && refresh());
  }
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("select, input[type=file], summary");
    if (!$("keys").checked || typing || event.ctrlKey || event.altKey || event.metaKey) return;
    const lane = { a: "silence", b: "repetition", c: "past", d: "plc", e: "original" }[event.key.toLowerCase()];
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
    for (const use of Object.keys(DOES)) $(`network-${use}`).disabled = true;
    $("networks-said").textContent = "over http alone: browsers let a file read no other";
  }
  setInterval(showFigures, SHOWN_MS);
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
