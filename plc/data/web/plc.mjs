// plc: conceal lost packets of music and speech. Packets in, as many samples out.
//
//   import { Concealer, fetchModel } from "./plc.mjs";
//   const model = await fetchModel(48000);      // a network for speech; null: prediction alone
//   const concealer = new Concealer({ sampleRate: 48000, packetSamples: 480, model });
//   play(concealer.push(samples));              // a packet came: Float32Array, interleaved
//   play(concealer.push(null));                 // it was lost
//
// It runs wherever JavaScript does: in a page, a worker, an AudioWorklet, node. A stream keeps all it
// knows in one block of its memory, which is allocated when it is made: no push allocates anything in
// it, and it never grows. Documentation: plc.html, written beside this file.

// The compiled step, in base64: "plc web --export" writes it here. Without it `module` is needed.
const ENGINE = "";

export const CONCEALED = 1;
export const CROSSFADED = 2;
export const REFUSED = 4;

// What the step answers beside them: the packet is not done.
const MORE = 512;
const FLAGS = 7;
const PAGE_BYTES = 65536;
// The section of the engine's module that says where things lie in a stream's block.
const SECTION = "plc";
// Words of a network's file, as plc_kernels/stream/model_file.py has them, and of the block that is
// made of it (plc_kernels/stream/model.py), which its first part begins.
const FILE = { bytes: 1, parts: 4, head: 5 };
const MODEL = { lowestRate: 4, highestRate: 5, words: 27 };
const MAGIC = "plcmodl3";
// The networks by what they are for: bursts of speech and of music, and with a lookahead gaps in
// speech whose end has arrived. Each with its lowest and highest sample rate in Hz.
const MODELS = {
  speech: [["speech", 16000, 96000], ["speech-narrowband", 8000, 15999]],
  music: [["music", 16000, 192000]],
  bridges: [["speech-bridge", 8000, 48000]],
};

// Their files, beside this one, each named as bundlers look for it. An AudioWorklet has no URL.
const PLACES = {
  "speech": () => new URL("./speech.plcm", import.meta.url),
  "speech-narrowband": () => new URL("./speech-narrowband.plcm", import.meta.url),
  "music": () => new URL("./music.plcm", import.meta.url),
  "speech-bridge": () => new URL("./speech-bridge.plcm", import.meta.url),
};

// What plays, as settings number it.
const CONTENTS = ["auto", "music", "speech"];

// Functions of C's library that Math lacks.
const FURTHER = { exp2: (x) => 2 ** x, exp10: (x) => 10 ** x, fmod: (x, y) => x % y };

// The functions of C's library that the module imports; a name ending in f is that for float32.
function mathematics(module) {
  const known = (name) => Math[name] ?? FURTHER[name];
  const env = {};
  for (const { name, kind } of WebAssembly.Module.imports(module)) {
    const found = known(name) ?? known(name.replace(/f$/, ""));
    if (kind !== "function" || !found) throw new Error(`the engine needs ${name}, which is not here`);
    env[name] = found;
  }
  return { env };
}

let engine = null;

// The compiled step: a WebAssembly.Module. An AudioWorklet gets it in processorOptions, so that the
// audio thread does not compile it; new Concealer() takes it by itself. Throws CompileError where a
// browser has no WebAssembly with SIMD, or a policy forbids it ('wasm-unsafe-eval' permits it).
export function compiled() {
  engine ??= new WebAssembly.Module(decoded(ENGINE));
  return engine;
}

// The bytes of base64, which an AudioWorklet has no function for.
function decoded(text) {
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const values = new Uint8Array(128);
  for (let k = 0; k < 64; k++) values[digits.charCodeAt(k)] = k;
  const ends = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const bytes = new Uint8Array((text.length / 4) * 3 - ends);
  for (let i = 0, at = 0; i < text.length; i += 4, at += 3) {
    let word = 0;
    for (let k = 0; k < 4; k++) word = (word << 6) | values[text.charCodeAt(i + k)];
    for (let k = 0; k < 3 && at + k < bytes.length; k++) bytes[at + k] = word >> (16 - 8 * k);
  }
  return bytes;
}

// What was given, for an error.
function told(given) {
  if (typeof given === "string") return JSON.stringify(given);
  return Object(given) === given ? `of type ${given.constructor?.name ?? "object"}` : String(given);
}

const isBytes = (given) => ArrayBuffer.isView(given) && given.BYTES_PER_ELEMENT === 1;

// The name of the network for a sample rate in Hz and "speech", "music" or "bridges"; null: there is
// none. Throws RangeError if they are no such.
export function modelFor(sampleRate, use = "speech") {
  if (typeof sampleRate !== "number") throw new RangeError(`the sample rate is ${told(sampleRate)}; give Hz`);
  if (!Object.hasOwn(MODELS, use)) {
    throw new RangeError(`there is no use ${told(use)}; there are ${Object.keys(MODELS).join(", ")}`);
  }
  const serves = ([, lowest, highest]) => lowest <= sampleRate && sampleRate <= highest;
  return MODELS[use].find(serves)?.[0] ?? null;
}

// The networks for a sample rate and these uses, fetched from beside this file or from a folder, as one
// file; null where there is none. Throws RangeError as modelFor does, and Error if one is not there, or
// did not come whole.
export async function fetchModel(sampleRate, uses = ["speech"], folder = null) {
  if (!Array.isArray(uses)) throw new RangeError(`uses is ${told(uses)}; give a list, such as ["speech"]`);
  const names = uses.map((use) => modelFor(sampleRate, use)).filter((name) => name !== null);
  const place = (name) => (folder === null ? PLACES[name]().href : `${folder}${name}.plcm`);
  return names.length ? joined(await Promise.all(names.map((name) => fetched(place(name))))) : null;
}

async function fetched(file) {
  const answer = await fetch(file).catch(() => null);
  const bytes = answer?.ok ? new Uint8Array(await answer.arrayBuffer().catch(() => [])) : null;
  if (bytes && isModel(bytes)) return bytes;
  const advice = file.startsWith("file:") ? "; read that file, and give its bytes as the model" : "";
  throw new Error(`the network cannot be fetched from ${file}${advice}`);
}

// Files of networks, one after another: a model of all of them.
export function joined(models) {
  if (!Array.isArray(models) || !models.every(isBytes)) {
    throw new RangeError("files of networks are given as a list, each a Uint8Array");
  }
  const all = new Uint8Array(models.reduce((sum, each) => sum + each.length, 0));
  let at = 0;
  for (const each of models) {
    all.set(each, at);
    at += each.length;
  }
  return all;
}

// The files of a model (`plc c models`), one after another; none where it is not made of such alone, as
// far as their beginnings tell. What makes a stream checks them whole.
function filesOf(model) {
  const files = [];
  if (!isBytes(model)) return files;
  for (let at = 0; at < model.length; at += files.at(-1).length) {
    const file = model.subarray(at, at + bytesOfFile(model.subarray(at)));
    if (!file.length) return [];
    files.push(file);
  }
  return files;
}

// The bytes of the file that begins here; 0: there is none, or not all of it.
function bytesOfFile(rest) {
  if (rest.length < 8 * MODEL.words) return 0;
  if (!Array.from(MAGIC).every((letter, i) => rest[i] === letter.charCodeAt(0))) return 0;
  const bytes = wordOf(rest, FILE.bytes);
  const whole = bytes % 8 === 0 && bytes >= 8 * MODEL.words && bytes <= rest.length;
  const named = firstWord(rest);
  return whole && named >= FILE.head && named + MODEL.words <= bytes / 8 ? bytes : 0;
}

// Whether these bytes are a network's file, or several, as far as their beginnings tell.
export function isModel(model) {
  return filesOf(model).length > 0;
}

// Whether a network of them serves this sample rate in Hz.
export function serves(model, sampleRate) {
  return filesOf(model).some((file) => {
    const named = firstWord(file);
    return wordOf(file, named + MODEL.lowestRate) <= sampleRate &&
      sampleRate <= wordOf(file, named + MODEL.highestRate);
  });
}

const wordOf = (model, place) =>
  Number(new DataView(model.buffer, model.byteOffset).getBigInt64(8 * place, true));

// The first word of the block in its file.
const firstWord = (model) => FILE.head + 2 * wordOf(model, FILE.parts);

const NO_PARTS = [];

const aligned = (address) => (address + 63) & ~63;

// Where things lie in a stream's block, in words: as the engine says.
function placesIn(module) {
  const [section] = WebAssembly.Module.customSections(module, SECTION);
  if (!section) throw new Error("the module is not the engine");
  return JSON.parse(String.fromCharCode(...new Uint8Array(section)));
}

// What is done here in a millisecond, in multiply-adds of a network; 0: not measured yet.
let workPerMs = 0;

// Measures that with an open stream, which is then as new: the best of some rounds, as the first ones
// run before the browser has compiled the step as well as it can.
function measured(exports, block, model) {
  const clock = globalThis.performance ?? Date;
  let most = 0;
  for (let round = 0; round < 5; round++) {
    const began = clock.now();
    const done = Number(exports.plck_calibrate(block, model));
    most = Math.max(most, done / Math.max(clock.now() - began, 1));
  }
  return most;
}

// One stream.
export class Concealer {
  // Settings: sampleRate in Hz, channels, packetSamples of each channel, lookahead in packets by
  // which the output is delayed, rung of the ladder of predictors (0 is the best, 11 the cheapest),
  // seed of the comfort noise, model: the files of networks (of which the stream keeps a copy), or
  // null; content: "music" or "speech" if it is known what plays, or "auto"; prepare: whether
  // prepare() will be called; limitMs: what a lost packet may take here, for which networks are left
  // out and cheaper predictors taken (finding out takes a tenth of a second, once); module: what
  // compiled() returns, where it is at hand.
  // Throws RangeError if one is out of its range, no network serves the rate, or one is damaged.
  constructor(given) {
    const {
      sampleRate, channels = 1, packetSamples, lookahead = 0, rung = 0, seed = 0, model = null,
      content = "auto", prepare = false, limitMs = Infinity, module = null, ...unknown
    } = given ?? {};
    for (const name in unknown) {
      throw new RangeError(`there is no setting ${name}; there are sampleRate, channels, packetSamples, ` +
        "lookahead, rung, seed, model, content, prepare, limitMs and module");
    }
    const counts = { sampleRate, channels, packetSamples, lookahead, rung, seed };
    for (const [name, count] of Object.entries(counts)) {
      if (Number.isSafeInteger(count)) continue;
      throw new RangeError(`${name} is ${told(count)}; give a whole number, as in ` +
        "new Concealer({ sampleRate: 48000, packetSamples: 480 })");
    }
    if (!CONTENTS.includes(content)) {
      throw new RangeError(`content is ${told(content)}; give one of ${CONTENTS.join(", ")}`);
    }
    if (!(limitMs > 0)) throw new RangeError(`limitMs is ${told(limitMs)}; give milliseconds above 0`);
    if (model !== null && !isBytes(model)) {
      throw new RangeError(`the model is ${told(model)}; give networks' files as a Uint8Array, which fetchModel ` +
        "resolves to, or null");
    }
    const files = model ? filesOf(model) : [];
    if (model && !files.length) {
      throw new RangeError("the model is no file of a network, nor several, or not whole");
    }
    if (model && !serves(model, sampleRate)) {
      throw new RangeError(`the model has no network for ${sampleRate} Hz`);
    }
    const step = module ?? compiled();
    const { exports } = new WebAssembly.Instance(step, mathematics(step));
    const { memory } = exports;
    this.places = placesIn(step);
    const settings = aligned(exports.__heap_base.value);
    const models = aligned(settings + 8 * this.places.settings);
    this.block = models;
    files.forEach((file, k) => this.takeFile(exports, file, k));
    this.model = model ? models : 0;
    reserve(memory, this.block);
    this.prepares = prepare && lookahead === 0;
    const sizeWithin = (limit) => this.sizeOf(exports, settings, [
      sampleRate, channels, packetSamples, lookahead, seed, rung, 0, this.model, limit,
      this.prepares ? 1 : 0, this.block - models, CONTENTS.indexOf(content),
    ]);
    let bytes = sizeWithin(0);
    if (limitMs < Infinity) {
      reserve(memory, this.block + bytes);
      exports.plck_open(this.block, settings);
      workPerMs ||= measured(exports, this.block, this.model);
      bytes = sizeWithin(Math.max(1, Math.min(Math.round(limitMs * workPerMs), Number.MAX_SAFE_INTEGER)));
    }
    const samples = channels * packetSamples;
    this.inAt = aligned(this.block + bytes);
    this.outAt = aligned(this.inAt + 4 * samples);
    this.missingAt = aligned(this.outAt + 4 * samples);
    reserve(memory, this.missingAt + 16 * packetSamples);
    this.missing = new BigInt64Array(memory.buffer, this.missingAt, 2 * packetSamples);
    this.exports = exports;
    this.in = new Float32Array(memory.buffer, this.inAt, samples);
    this.out = new Float32Array(memory.buffer, this.outAt, samples);
    // Each word in two halves.
    this.halves = new Int32Array(memory.buffer, this.block, 2 * this.places.words);
    this.preparedAt = new BigInt64Array(memory.buffer, this.block + 8 * this.places.preparedAt, 1);
    this.packetSamples = packetSamples;
    this.lookahead = lookahead;
    // Samples of each channel by which the output lags.
    this.delay = lookahead * packetSamples;
    exports.plck_open(this.block, settings);
    // Which networks of the model the stream uses.
    this.networks = Object.keys(MODELS).filter((use) => model && this.word(this.places.networks[use]) >= 0);
    this.forget();
  }

  // Writes settings; returns the bytes of the stream's block.
  sizeOf(exports, settings, words) {
    const set = new BigInt64Array(exports.memory.buffer, settings, this.places.settings).fill(0n);
    words.forEach((word, i) => { set[i] = BigInt(word); });
    const bytes = Number(exports.plck_size(settings));
    if (bytes) return bytes;
    const [sampleRate, channels, packetSamples, lookahead] = words;
    throw new RangeError(
      `the engine does not take ${sampleRate} Hz, ${channels} channels, packets of ` +
      `${packetSamples} samples and a lookahead of ${lookahead} packets; it takes 8000 to ` +
      "192000 Hz, 1 to 8 channels, packets of 1 to 120 ms and a lookahead of up to 2 s",
    );
  }

  // Makes a network of its file, which lies where the next one or the stream will.
  takeFile(exports, file, k) {
    const { memory } = exports;
    const at = aligned(this.block + 2 * file.length); // a network takes no more
    reserve(memory, at + file.length);
    const there = new Uint8Array(memory.buffer, at, file.length);
    there.set(file);
    const bytes = Number(exports.plck_model_size(at, BigInt(file.length)));
    const sound = bytes > 0 && bytes <= 2 * file.length;
    if (!sound || !exports.plck_model_open(at, BigInt(file.length), this.block)) {
      throw new RangeError(`the model is damaged: its ${k + 1}. file`);
    }
    there.fill(0);
    this.block += bytes;
  }

  // Takes a packet, interleaved, or null for one that was lost. Returns what to play: a view that
  // the next push overwrites. A packet with NaN, infinity or a sample above 1e6 counts as lost.
  // missing: parts of it that did not arrive, [first, behind] of each in samples of each channel, in
  // order and apart. Throws RangeError if a packet has another length, or missing is no such parts.
  push(packet, missing = NO_PARTS) {
    if (packet !== null) {
      if (!(packet instanceof Float32Array)) {
        throw new RangeError("a packet is a Float32Array of interleaved samples, or null where it was lost");
      }
      if (packet.length !== this.in.length) {
        throw new RangeError(`a packet has ${this.in.length} samples, not ${packet.length}`);
      }
      this.in.set(packet);
    }
    const { exports, block, inAt, missingAt, outAt } = this;
    if (!Array.isArray(missing)) throw new RangeError(`missing is ${told(missing)}; give a list of parts`);
    const arrived = packet === null ? 0n : 1n;
    let before = -1;
    for (let i = 0; i < missing.length; i++) {
      const [first, behind] = Array.isArray(missing[i]) ? missing[i] : [];
      const whole = Number.isInteger(first) && Number.isInteger(behind);
      if (!(whole && first > before && behind > first && behind <= this.packetSamples)) {
        throw new RangeError(`missing has [${first}, ${behind}]; give parts of the packet, in order and apart`);
      }
      this.missing[2 * i] = BigInt(first);
      this.missing[2 * i + 1] = BigInt(behind);
      before = behind;
    }
    const parts = BigInt(missing.length);
    return this.finish(exports.plck_push(block, inAt, arrived, missingAt, parts, outAt, 0n));
  }

  // Makes what would be played if the next packet were lost, so that its loss costs little: the samples
  // are the same. It takes as long as a lost packet; call it between pushes where there is that time.
  // Returns whether it is ready: not with a lookahead, and not within a burst, which goes on anyway.
  prepare() {
    const { block, exports, model, places, preparedAt } = this;
    const at = this.word(places.position) + this.packetSamples;
    if (!this.prepares) return false;
    if (this.word(places.preparedAt) === at) return true;
    if (!exports.plck_look(block, BigInt(at))) return false;
    preparedAt[0] = exports.plck_prepare(block, model);
    return true;
  }

  // What the lookahead holds, `delay` samples of each channel; then the stream begins anew, with its
  // counters as they are.
  flush() {
    const { exports, block, in: { length }, lookahead, outAt, places } = this;
    const rest = new Float32Array(lookahead * length);
    for (let k = 0; k < lookahead; k++) {
      rest.set(this.finish(exports.plck_drain(block, outAt, 0n)), k * length);
    }
    const kept = [...Object.values(places.counters), ...Object.values(places.networkSamples)];
    const counted = kept.map((word) => this.word(word));
    const { served } = this;
    this.reset();
    this.served = served;
    const counts = new BigInt64Array(this.halves.buffer, block, places.words);
    kept.forEach((word, i) => { counts[word] = BigInt(counted[i]); });
    this.remember();
    return rest;
  }

  finish(begun) {
    const { exports, block, model, outAt } = this;
    let flags = Number(begun);
    let all = flags;
    for (;;) {
      if (model) exports.plck_fill(block, model, BigInt(flags)); // it may also have to hear what was played
      if (!(flags & MORE)) break;
      flags = Number(exports.plck_resume(block, outAt, 0n));
      all |= flags;
    }
    this.flags = all & FLAGS;
    this.note();
    return this.out;
  }

  // Notes what has concealed since the last push.
  note() {
    const { before, concealedSamples, places: { networkSamples }, silentSamples } = this;
    const more = concealedSamples - before.concealedSamples;
    this.servedBy = null;
    if (more) {
      const made = Object.keys(networkSamples)
        .find((name) => this.word(networkSamples[name]) > before[name]);
      const noise = silentSamples > before.silentSamples;
      this.servedBy = made ?? (noise ? "noise" : "prediction");
      this.served[this.servedBy] += more;
    }
    this.remember();
  }

  remember() {
    const { before, concealedSamples, places: { networkSamples }, silentSamples } = this;
    before.concealedSamples = concealedSamples;
    before.silentSamples = silentSamples;
    for (const name in networkSamples) before[name] = this.word(networkSamples[name]);
  }

  // A word of the block, as a number.
  word(place) {
    return (this.halves[2 * place] >>> 0) + 2 ** 32 * this.halves[2 * place + 1];
  }

  // Samples of each channel that were concealed so far, and those of them that networks made, or that
  // are noise alone.
  get concealedSamples() {
    return this.word(this.places.counters.concealedSamples);
  }

  get networkSamples() {
    return Object.values(this.places.networkSamples).reduce((sum, word) => sum + this.word(word), 0);
  }

  get silentSamples() {
    return this.word(this.places.counters.silentConcealedSamples);
  }

  // All that was counted since the beginning, by name; samples once for all channels. Names that
  // WebRTC's statistics have are theirs.
  get counters() {
    const { networkSamples, places } = this;
    const counted = Object.entries(places.counters).map(([name, word]) => [name, this.word(word)]);
    return { ...Object.fromEntries(counted), networkSamples };
  }

  // As new, with the same settings.
  reset() {
    this.exports.plck_reset(this.block);
    this.forget();
  }

  forget() {
    // What was done in the last push: a sum of CONCEALED, CROSSFADED and REFUSED.
    this.flags = 0;
    // What concealed in it: a name of those in `served`, or null.
    this.servedBy = null;
    // Concealed samples of each channel, by what made them.
    this.served = { prediction: 0, speech: 0, music: 0, bridges: 0, noise: 0 };
    // The counters behind the last push.
    this.before = { concealedSamples: 0, silentSamples: 0, speech: 0, music: 0, bridges: 0 };
  }
}

// The samples of a piece, interleaved: Float32Array (which is returned) or Int16Array, or AudioData of
// WebCodecs. Throws RangeError if they are not of this format.
export function samplesOf(data, channels, sampleRate) {
  if (typeof data?.copyTo === "function") {
    if (data.sampleRate !== sampleRate || data.numberOfChannels !== channels) {
      throw new RangeError(`AudioData has ${data.numberOfChannels} channels at ${data.sampleRate} Hz, ` +
        `the buffer ${channels} at ${sampleRate}`);
    }
    const [samples, row] = [data.numberOfFrames, new Float32Array(data.numberOfFrames)];
    const piece = new Float32Array(samples * channels);
    for (let c = 0; c < channels; c++) {
      data.copyTo(row, { planeIndex: c, format: "f32-planar" });
      for (let i = 0; i < samples; i++) piece[i * channels + c] = row[i];
    }
    return piece;
  }
  const integers = data instanceof Int16Array;
  if (!(integers || data instanceof Float32Array) || data.length % channels) {
    throw new RangeError(`a piece is a Float32Array or Int16Array of ${channels} channels, or AudioData`);
  }
  return integers ? Float32Array.from(data, (x) => x / 32768) : data;
}

// Samples that a line plays a little faster or slower, between two by a windowed sinc, as
// plc_kernels.signal.resample has it. Behind the channels a row of marks: 1 where a sample was made up.
const [TAPS, PHASES, CENTRE, KAISER_BETA] = [32, 512, 15, 8];
let weights = null;

function sincTable() {
  const bessel = (x) => {
    let [sum, term] = [1, 1];
    for (let k = 1; term > 1e-12 * sum; k++) sum += term *= (x / (2 * k)) ** 2;
    return sum;
  };
  return Array.from({ length: PHASES + 1 }, (_, phase) => {
    const row = Float64Array.from({ length: TAPS }, (_, k) => {
      const x = k - CENTRE - phase / PHASES;
      const inside = Math.max(1 - (x / (TAPS / 2)) ** 2, 0);
      return (x ? Math.sin(Math.PI * x) / (Math.PI * x) : 1) * bessel(KAISER_BETA * Math.sqrt(inside));
    });
    const sum = row.reduce((a, b) => a + b);
    return row.map((each) => each / sum);
  });
}

class Line {
  constructor(channels, block) {
    weights ??= sincTable();
    this.block = block;
    const length = CENTRE + 4 * block + 2 * TAPS;
    this.rows = Array.from({ length: channels + 1 }, () => new Float32Array(length));
    this.at = this.filled = CENTRE;
  }

  // Whether it plays at this step without a sample between two.
  copies(step) {
    return step === 1 && Number.isInteger(this.at);
  }

  lacks(step) {
    const last = Math.floor(this.at + (this.block - 1) * step);
    return this.filled < last + 1 + (this.copies(step) ? 0 : TAPS / 2);
  }

  add(samples, madeUp) {
    const channels = this.rows.length - 1;
    for (const [c, row] of this.rows.entries()) {
      for (let i = 0; i < this.block; i++) {
        row[this.filled + i] = c < channels ? samples[i * channels + c] : madeUp[i];
      }
    }
    this.filled += this.block;
  }

  // Plays a block, and forgets what lies behind.
  play(step) {
    const { at, block, rows } = this;
    const channels = rows.length - 1;
    const [samples, madeUp] = [new Float32Array(block * channels), new Uint8Array(block)];
    const copies = this.copies(step);
    for (const [c, row] of rows.entries()) {
      for (let i = 0; i < block; i++) {
        const sample = copies ? row[at + i] : between(row, at + i * step);
        if (c < channels) samples[i * channels + c] = sample;
        else madeUp[i] = sample > 0.5 ? 1 : 0;
      }
    }
    const stale = Math.floor(at + block * step) - CENTRE;
    for (const row of rows) row.copyWithin(0, stale, this.filled);
    this.filled -= stale;
    this.at += block * step - stale;
    return { samples, madeUp };
  }
}

function between(row, place) {
  const whole = Math.floor(place);
  const phase = (place - whole) * PHASES;
  const near = Math.floor(phase);
  const [low, high] = [weights[near], weights[near + 1]];
  let sum = 0;
  for (let k = 0; k < TAPS; k++) sum += (low[k] + (phase - near) * (high[k] - low[k])) * row[whole - CENTRE + k];
  return sum;
}

// Follows the sender's clock by the speed of playing, as plc.transport.rtp.delay.DriftControl does, where the
// reasons for its numbers stand.
class DriftControl {
  constructor() {
    Object.assign(this, { error: 0, stretch: 0, drift: 0, calm: 0, engaged: false });
  }

  update(excess, [lack, most], elapsed) {
    const within = (x, limit) => Math.min(Math.max(x, -limit), limit);
    this.error += (excess - this.error) * Math.min(1, elapsed);
    const { error } = this;
    if (!this.engaged && -lack <= error && error <= most) return;
    this.engaged = true;
    const wanted = this.drift + 0.1 * error;
    if (Math.abs(wanted) < 3e-3) {
      this.drift = within(this.drift + 0.005 * within(error, 0.002) * elapsed, 1e-3);
    }
    this.stretch += within(within(wanted, 3e-3) - this.stretch, 2e-4 * elapsed);
    const calm = Math.abs(error) < 0.5 * lack && Math.abs(this.drift) < 3e-6;
    this.calm = calm ? this.calm + elapsed : 0;
    if (this.calm >= 20) Object.assign(this, { stretch: 0, drift: 0, calm: 0, engaged: false });
  }
}

// What was played is remembered for so long, to tell what comes twice from what comes late; how late
// the latest pieces came stays in the delay for so long, twice over; a stall is no shorter. So often
// the speed follows the sender's clock, if it is so far off, behind or ahead.
const [KEPT_PAST_S, LATE_MEMORY_S, LEAST_STALL_S] = [2, 15, 0.01];
const [FOLLOW_S, DEAD_BAND_S] = [2, [0.01, 0.02]];
const [WAS_LOST, WAS_UNSENT, IS_THERE] = [1, 2, 3]; // states of a sample

// One stream of pieces of sound with a time stamp, of any lengths, in any order, twice or overlapping;
// a steady stream out. It has no clock: time passes by take. A stall (nothing of what is due is there,
// nor behind it) is concealed and waited for, up to maxDelayMs in all, and left out again where the
// sender pauses; a hole with something behind it is concealed at its time. A sender's clock is followed
// by 0.3 % at most. The samples are those of plc.PlayoutBuffer in Python.
export class PlayoutBuffer {
  // Settings: sampleRate in Hz, channels, packetMs of what is concealed at once, delayMs that the first
  // piece waits, maxDelayMs (0: the delay stays, and what is late is lost), mostAheadS of how far ahead
  // pieces may come; others as for Concealer. Throws RangeError as that does.
  constructor({
    sampleRate, channels = 1, packetMs = 10, delayMs = 40, maxDelayMs = 1000, mostAheadS = 60, ...others
  }) {
    this.rate = sampleRate;
    this.channels = channels;
    this.block = Math.round((packetMs * sampleRate) / 1000);
    this.concealer = new Concealer({ sampleRate, channels, packetSamples: this.block, ...others });
    const delay = this.delay = Math.round((delayMs * sampleRate) / 1000);
    this.mostWaited = Math.round((Math.max(maxDelayMs - delayMs, 0) * sampleRate) / 1000);
    this.past = KEPT_PAST_S * sampleRate;
    this.ahead = Math.max(Math.round(mostAheadS * sampleRate), delay + 2 * this.block);
    this.size = this.past + this.ahead;
    this.ring = new Float32Array(this.size * channels);
    this.state = new Uint8Array(this.size);
    this.packet = new Float32Array(this.block * channels);
    this.lacking = Array.from({ length: this.concealer.lookahead }, () => new Uint8Array(this.block));
    this.line = new Line(channels, this.block);
    this.drift = new DriftControl();
    this.left = { samples: new Float32Array(0), madeUp: new Uint8Array(0) };
    this.due = null; // position of the next sample to play
    this.first = 0;
    this.end = 0; // behind the newest sample
    this.shift = 0;
    this.untilBegin = delay;
    this.waited = 0;
    this.run = 0; // what it has waited in this stall
    this.late = [-Infinity, -Infinity];
    this.aheadMost = [-Infinity, -Infinity];
    this.taken = 0;
    // Samples of each channel: made up because they came too late, were lost, or were not sent.
    this.stats = {
      receivedSamples: 0, duplicateSamples: 0, lateSamples: 0, lostSamples: 0, unsentSamples: 0,
      refusedSamples: 0, overflowSamples: 0, jumps: 0,
    };
  }

  // Milliseconds that are held ahead of what is played.
  get bufferedMs() {
    return this.due === null ? 0 : (1000 * Math.max(this.end - this.due, 0)) / this.rate;
  }

  // Takes a piece in: Float32Array or Int16Array, interleaved, or AudioData of WebCodecs, whose time
  // stamp counts if no other is given. timestampUs: microseconds in the sender's stream; null: it
  // follows the piece before. Returns how many samples of each channel are new.
  put(data, timestampUs = data.timestamp ?? null) {
    const piece = samplesOf(data, this.channels, this.rate);
    const count = piece.length / this.channels;
    if (!count) return 0;
    const follows = Math.max(this.end, this.due ?? 0);
    let place = follows;
    if (timestampUs !== null) {
      const at = Math.round((timestampUs * this.rate) / 1e6);
      if (!Number.isSafeInteger(at)) throw new RangeError(`the time stamp is ${timestampUs}; give microseconds`);
      if (this.due === null) this.shift = -at;
      place = at + this.shift;
      const apart = place - (this.due ?? place);
      if (apart < -this.past || apart > this.ahead) {
        this.stats.jumps += 1;
        this.shift += follows - place;
        place = follows;
      }
    }
    if (this.due === null || (!this.taken && this.untilBegin > 0)) {
      this.due = this.first = this.due === null ? place : Math.min(this.due, place);
    }
    this.noteTime(place, count, timestampUs !== null);
    return this.keep(piece, place, count);
  }

  // Takes note of when a piece came, and ends a stall.
  noteTime(place, count, isPlaced) {
    if (this.run && place + count > this.due) {
      // Who goes on where the stream stands was late; who leaves room has sent nothing.
      const hole = Math.max(place - this.due, 0);
      if (isPlaced && 2 * hole < this.run) {
        this.stats.lateSamples += this.run;
        this.stats.unsentSamples -= this.run;
      }
      this.run = 0;
      const skipped = Math.min(hole, Math.max(this.waited - Math.max(...this.late, 0), 0));
      this.advance(skipped);
      this.waited -= skipped;
      this.aheadMost = [-Infinity, -Infinity];
    }
    const ahead = place - this.due + this.untilBegin;
    this.late[0] = Math.max(this.late[0], this.waited - ahead);
    this.aheadMost[0] = Math.max(this.aheadMost[0], ahead);
  }

  // Writes what is new of a piece into the ring.
  keep(piece, place, count) {
    const { channels, due, ring, size, state, stats } = this;
    const low = Math.max(due - this.past, this.first);
    let taken = 0;
    for (let i = 0; i < count; i++) {
      const at = place + i;
      if (at < low) continue;
      if (at >= due + this.ahead) {
        stats.overflowSamples += count - i;
        break;
      }
      const cell = ((at % size) + size) % size;
      let sound = true;
      for (let c = 0; c < channels; c++) sound &&= Math.abs(piece[i * channels + c]) <= 1e6;
      const was = state[cell];
      if (was === IS_THERE) stats.duplicateSamples += 1;
      if (!sound) stats.refusedSamples += 1;
      if (was === IS_THERE || !sound) continue;
      state[cell] = IS_THERE;
      for (let c = 0; c < channels; c++) ring[cell * channels + c] = piece[i * channels + c];
      this.end = Math.max(this.end, at + 1);
      if (at >= due) {
        taken += 1;
        continue;
      }
      stats.lateSamples += 1;
      if (was === WAS_LOST) stats.lostSamples -= 1;
      if (was === WAS_UNSENT) stats.unsentSamples -= 1;
    }
    stats.receivedSamples += taken;
    return taken;
  }

  // Returns the next samples of each channel to play: samples, a Float32Array, interleaved; madeUp, a
  // Uint8Array, 1 where nothing had arrived.
  take(count) {
    const samples = new Float32Array(count * this.channels);
    const madeUp = new Uint8Array(count);
    let at = 0;
    while (at < count) {
      if (!this.left.madeUp.length) this.left = this.tick();
      const some = Math.min(count - at, this.left.madeUp.length);
      samples.set(this.left.samples.subarray(0, some * this.channels), at * this.channels);
      madeUp.set(this.left.madeUp.subarray(0, some), at);
      this.left = {
        samples: this.left.samples.subarray(some * this.channels),
        madeUp: this.left.madeUp.subarray(some),
      };
      at += some;
    }
    return { samples, madeUp };
  }

  // The next block: silence until the first piece has waited its time.
  tick() {
    if (this.due !== null && this.untilBegin <= 0) {
      const step = 1 + this.drift.stretch;
      while (this.line.lacks(step)) this.pull();
      return this.line.play(step);
    }
    const silent = this.due === null ? this.block : Math.min(this.block, this.untilBegin);
    if (this.due !== null) this.untilBegin -= silent;
    return { samples: new Float32Array(silent * this.channels), madeUp: new Uint8Array(silent) };
  }

  // Appends the block that is due to the line.
  pull() {
    const { block, channels, due, end, packet, ring, size, stats } = this;
    const ready = Math.max(end - due, 0);
    const least = this.run ? Math.max(Math.round(LEAST_STALL_S * this.rate) - this.run, 0) : 0;
    let count = block;
    if (ready < block + least && this.waited < this.mostWaited) {
      count = this.run ? 0 : Math.min(ready, block);
      this.waited += block - count;
      this.run += block - count;
    }
    const lacking = new Uint8Array(block);
    const missing = [];
    for (let i = 0; i < block; i++) {
      const cell = (((due + i) % size) + size) % size;
      lacking[i] = i < count && this.state[cell] === IS_THERE ? 0 : 1;
      for (let c = 0; c < channels; c++) packet[i * channels + c] = ring[cell * channels + c];
      if (lacking[i] && i && lacking[i - 1]) missing.at(-1)[1] = i + 1;
      else if (lacking[i]) missing.push([i, i + 1]);
      if (i >= count) continue;
      if (i >= ready) this.state[cell] = WAS_UNSENT;
      else if (lacking[i]) {
        this.state[cell] = WAS_LOST;
        stats.lostSamples += 1;
      }
    }
    stats.unsentSamples += block - Math.min(ready, count);
    this.advance(count);
    const whole = missing.length === 1 && missing[0][1] - missing[0][0] === block;
    const played = this.concealer.push(whole ? null : packet, whole ? NO_PARTS : missing);
    this.lacking.push(lacking);
    this.line.add(played, this.lacking.shift());
    this.passTime();
  }

  // Forgets old lateness; follows the sender's clock by how far ahead the earliest pieces come.
  passTime() {
    const before = this.taken / this.rate;
    this.taken += this.block;
    const passed = (seconds) => Math.floor(before / seconds) < Math.floor(this.taken / this.rate / seconds);
    if (passed(LATE_MEMORY_S)) this.late = [-Infinity, this.late[0]];
    if (!passed(FOLLOW_S) || this.run) return;
    const [ahead, most] = [Math.max(...this.aheadMost), this.delay + this.waited];
    // Who sends far ahead, as fast as he can, has no clock to follow, nor who is silent.
    if (ahead >= 0 && ahead < most + this.delay + this.mostWaited) {
      const excess = Math.min(ahead - this.delay, Math.max(ahead - most, 0));
      this.drift.update(excess / this.rate, DEAD_BAND_S, FOLLOW_S);
    }
    this.aheadMost = [-Infinity, this.aheadMost[0]];
  }

  // Goes on, and forgets what was played long ago.
  advance(count) {
    for (let i = 0; i < count; i++) {
      this.state[((((this.due - this.past + i) % this.size) + this.size) % this.size)] = 0;
    }
    this.due += count;
  }
}

function reserve(memory, bytes) {
  const lacking = bytes - memory.buffer.byteLength;
  if (lacking > 0) memory.grow(Math.ceil(lacking / PAGE_BYTES));
}
