// The worker: runs the engine on the packets that the worklet hands over, hands back what is to be
// played, and then makes what would be played if the next packet were lost. It has a clock, and reports
// to the page what it did.
//
// Reports go to the page in buffers that the page hands back; where none is back in time, a report is
// left out.

import { Times } from "./figures.mjs";
import { Lanes } from "./lanes.mjs";
import { Losses } from "./losses.mjs";
import { affordableRung, affordsNetwork, limitOf, warm } from "./measure.mjs";
import { joined } from "./plc.mjs";

const REPORT_S = 0.02;
const REPORTS = 16;
const FIGURES_MS = 200;
const REST_MS = 100;
// What a packet of the output may have been made by, and what is made ahead.
const KINDS = ["received", "prediction", "noise", "speech", "music", "bridges", "ahead"];

// What the page shows of each packet: whether it was lost, then all packets, then what was played.
class Report {
  constructor({ sampleRate, channels, packetSamples }) {
    this.length = channels * packetSamples;
    this.packets = Math.max(1, Math.round((REPORT_S * sampleRate) / packetSamples));
    this.spare = Array.from(
      { length: REPORTS }, () => new Float32Array(this.packets * (1 + 2 * this.length)),
    );
    this.samples = this.spare.pop();
    this.filled = 0;
  }

  add(lost, original, played) {
    if (this.filled === 0) this.samples ??= this.spare.pop() ?? null;
    if (this.samples !== null) {
      const at = this.packets + this.filled * this.length;
      this.samples[this.filled] = lost ? 1 : 0;
      this.samples.set(original, at);
      this.samples.set(played, at + this.packets * this.length);
    }
    this.filled += 1;
    if (this.filled < this.packets) return;
    this.filled = 0;
    if (this.samples !== null) postMessage({ samples: this.samples }, [this.samples.buffer]);
    this.samples = null;
  }
}

class Engine {
  constructor({ settings, losses, lane, port }) {
    this.lanes = new Lanes(module, settings, lane);
    this.losses = new Losses(losses);
    this.report = new Report(settings);
    this.times = Object.fromEntries(KINDS.map((kind) => [kind, new Times()]));
    this.counts = { packets: 0, lost: 0, concealed: 0 };
    this.limit = limitOf(settings);
    this.restsUntil = 0;
    // Packets that came come before what is made ahead.
    this.later = new MessageChannel();
    this.later.port1.onmessage = () => this.prepare();
    this.port = port;
    port.onmessage = ({ data }) => this.take(data);
    this.figures = setInterval(() => this.tell(), FIGURES_MS);
  }

  // Takes a packet, and gives what is to be played in its buffer.
  take(packet) {
    const { counts, lanes, report } = this;
    const lost = this.losses.next();
    const played = lanes.push(packet, lost);
    this.times[lanes.step.servedBy ?? "received"].add(1000 * (performance.now() - lanes.began));
    counts.packets += 1;
    if (lanes.lost) counts.lost += 1;
    if (lanes.concealed) counts.concealed += 1;
    packet.set(played);
    report.add(lanes.lost, lanes.original, played);
    this.port.postMessage(packet, [packet.buffer]);
    if (lanes.step.prepares) this.later.port2.postMessage(null);
  }

  // Makes what a loss would play. What took longer than a lost packet may, as where other programs keep
  // the processor, is left for a while: packets wait for it.
  prepare() {
    const began = performance.now();
    if (began < this.restsUntil || !this.lanes.step.prepare()) return;
    const spent = 1000 * (performance.now() - began);
    this.times.ahead.add(spent);
    if (spent > this.limit) this.restsUntil = began + REST_MS;
  }

  tell() {
    const times = Object.entries(this.times).map(([kind, each]) => [kind, each.count, each.summary()]);
    postMessage({ figures: { ...this.counts, times } });
  }

  close() {
    clearInterval(this.figures);
    this.port.close();
    this.later.port1.close();
  }
}

let module = null;
let stream = null;
// Files of networks by what they are for, and what was measured.
const models = new Map();
const answers = new Map();

// What a function says of settings, asked once.
async function once(ask, ...about) {
  const key = JSON.stringify(about);
  if (!answers.has(key)) answers.set(key, await ask(module, ...about));
  return answers.get(key);
}

const close = () => {
  stream?.close();
  stream = null;
};

// What the page asks, and waits for the answer.
const questions = {
  // Takes a network's file.
  fetched({ name, bytes }) {
    models.set(name, bytes);
  },

  // Returns the rung and those of the networks that are fast enough here; names by what they are for.
  async measure({ settings, rung, names }) {
    const wanted = rung === "auto" ? await once(affordableRung, settings) : Number(rung);
    const fast = {};
    for (const [use, name] of Object.entries(names)) {
      const affords = (_, given) => affordsNetwork(module, { ...given, model: models.get(name) }, use);
      if (await once(affords, { ...settings, rung: wanted }, use)) fast[use] = name;
    }
    if (!Object.keys(fast).length) await warm(module, { ...settings, rung: wanted });
    return { rung: wanted, fast };
  },

  // Begins a stream; returns what its networks are for that it uses.
  open({ settings, names, ...rest }) {
    close();
    const files = names.map((name) => models.get(name));
    const model = files.length ? joined(files) : null;
    stream = new Engine({ settings: { ...settings, model }, ...rest });
    return stream.lanes.step.networks;
  },
};

// What it tells.
const orders = {
  compiled: (given) => { module = given; },
  close,
  lane: (lane) => stream?.lanes.choose(lane),
  losses: ({ share, burst }) => stream?.losses.set(share, burst),
  gapPackets: (packets) => stream?.losses.force(packets),
  samples: (samples) => stream?.report.spare.push(samples),
};

onmessage = async ({ data }) => {
  for (const [name, given] of Object.entries(data)) {
    if (orders[name]) {
      orders[name](given);
      continue;
    }
    try {
      postMessage({ answer: await questions[name](given) });
    } catch (error) {
      postMessage({ refused: `${error.message ?? error}` });
    }
  }
};
