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
const MODEL = { lowestRate: 4, highestRate: 5, words: 29 };
const MAGIC = "plcmodl5";
// The networks by what they are for: bursts of speech and of music, and gaps in
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

// Raw memory as its bytes (also of another page's), all else as it is.
export function rawBytes(given) {
  const isRaw = typeof given?.byteLength === "number" && typeof given.slice === "function" && !ArrayBuffer.isView(given);
  return isRaw ? new Uint8Array(given) : given;
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
const NOTHING = [[0, new Float32Array(0)]];
// Louder is no sound.
const LARGEST = 1e6;
// More than bridges make use of.
const MOST_KNOWN_S = 0.2;

const aligned = (address) => Math.ceil(address / 64) * 64;

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
    this.knownAt = aligned(this.missingAt + 16 * packetSamples);
    const knownMost = channels * Math.ceil(MOST_KNOWN_S * sampleRate);
    reserve(memory, this.knownAt + 4 * knownMost);
    this.known = new Float32Array(memory.buffer, this.knownAt, knownMost);
    this.missing = new BigInt64Array(memory.buffer, this.missingAt, 2 * packetSamples);
    this.exports = exports;
    this.in = new Float32Array(memory.buffer, this.inAt, samples);
    this.out = new Float32Array(memory.buffer, this.outAt, samples);
    // Each word in two halves.
    this.halves = new Int32Array(memory.buffer, this.block, 2 * this.places.words);
    this.preparedAt = new BigInt64Array(memory.buffer, this.block + 8 * this.places.preparedAt, 1);
    Object.assign(this, { sampleRate, channels, packetSamples });
    this.lookahead = lookahead;
    // Samples of each channel by which the output lags.
    this.delay = lookahead * packetSamples;
    exports.plck_open(this.block, settings);
    // Samples of each channel behind a lost packet that are made use of, where they are known.
    this.behindSamples = this.word(this.places.ahead) * packetSamples;
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
      "192000 Hz, 1 to 8 channels, packets of 1 ms (or 32 samples) to 120 ms and a lookahead of up to 2 s",
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
  // order and apart. behind: what is known behind the packet already, as your jitter buffer holds it, in
  // place of what was known: [distance, samples] of each stretch, from the packet's end on and interleaved;
  // a hole before it is filled from both sides, at no delay. null: nothing new. Throws RangeError if a packet has another length,
  // missing is no such parts, or behind no such stretches.
  push(packet, missing = NO_PARTS, behind = null) {
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
    for (const [name, list] of Object.entries({ missing, behind: behind ?? NO_PARTS })) {
      if (!Array.isArray(list)) throw new RangeError(`${name} is ${told(list)}; give a list`);
    }
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
    if (behind) {
      const stretches = behind.map((each) => this.stretch(each));
      for (const [distance, samples] of stretches.length ? stretches : NOTHING) this.know(distance, samples);
    }
    const parts = BigInt(missing.length);
    return this.finish(exports.plck_push(block, inAt, arrived, missingAt, parts, outAt, 0n));
  }

  // Returns a stretch of what is known behind a packet, as much of it as is made use of.
  stretch(each) {
    const { channels, sampleRate } = this;
    const [distance, samples] = Array.isArray(each) ? each : [];
    const isThere = samples instanceof Float32Array && samples.length % channels === 0;
    if (!isThere || !(Number.isInteger(distance) && distance >= 0 && distance <= sampleRate)) {
      throw new RangeError(`behind has [${told(distance)}, ${told(samples)}]; give [distance, samples]: up to a ` +
        `second from the packet's end on, and a Float32Array of ${channels} interleaved channels`);
    }
    const known = samples.subarray(0, this.behindSamples * channels);
    if (known.every((value) => Math.abs(value) < LARGEST)) return [distance, known];
    throw new RangeError("behind has samples that are NaN, infinite or above 1e6");
  }

  // Takes in a stretch that is known behind the packet that is pushed next; the first forgets the others.
  know(distance, samples) {
    this.known.set(samples);
    const count = BigInt(samples.length / this.channels);
    this.exports.plck_know(this.block, this.knownAt, 0n, count, BigInt(distance));
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
    throw new RangeError(`a piece is a Float32Array or Int16Array of ${channels} channels, bytes, or AudioData`);
  }
  return integers ? Float32Array.from(data, (x) => x / 32768) : data;
}

// The position of a time stamp in microseconds, in samples, or null. Throws RangeError if it is none.
export function positionOf(timestampUs, sampleRate) {
  const position = typeof timestampUs === "number" ? Math.round((timestampUs * sampleRate) / 1e6) : null;
  if (position === null ? timestampUs !== null : !(Math.abs(position) < FAR)) {
    throw new RangeError(`the time stamp is ${told(timestampUs)}; give microseconds, or null`);
  }
  return position;
}

const [MOST_DELAY_MS, MOST_AHEAD_S, FAR] = [5000, 600, 2 ** 53];
const OF_CONCEALER = ["lookahead", "rung", "seed", "model", "content", "prepare", "limitMs", "module"];

// One stream of pieces of sound with a time stamp, of any lengths, in any order, twice or overlapping;
// a steady stream out. It has no clock: time passes by take. A stall (nothing of what is due is there,
// nor behind it) is concealed and waited for, up to maxDelayMs in all, and left out again where the
// sender pauses, or by whole periods of the sound; a hole with something behind it is concealed at its
// time. A sender's clock is followed. Where a piece stands and what is due is decided by the engine, as
// for plc.PlayoutBuffer in Python, whose samples it plays.
export class PlayoutBuffer {
  // Settings: sampleRate in Hz, channels, packetMs of what is concealed at once, delayMs that the first
  // piece waits, maxDelayMs (0: the delay stays, and what is late is lost), mostAheadS of how far ahead
  // pieces may come, encoding of bytes ("int16", little-endian, or "mulaw", G.711); others as for
  // Concealer. Throws RangeError as that does.
  constructor(given) {
    const {
      sampleRate, channels = 1, packetMs = 10, delayMs = 40, maxDelayMs = 1000, mostAheadS = 60,
      encoding = "int16", ...others
    } = given ?? {};
    for (const name in others) {
      if (OF_CONCEALER.includes(name)) continue;
      throw new RangeError(`there is no setting ${name}; there are sampleRate, channels, packetMs, delayMs, ` +
        `maxDelayMs, mostAheadS, encoding, ${OF_CONCEALER.join(", ")}`);
    }
    if (!Number.isSafeInteger(sampleRate)) {
      throw new RangeError(`sampleRate is ${told(sampleRate)}; give Hz, as in ` +
        "new PlayoutBuffer({ sampleRate: 48000 })");
    }
    const limits = { delayMs: MOST_DELAY_MS, maxDelayMs: MOST_DELAY_MS, mostAheadS: MOST_AHEAD_S };
    for (const [name, value] of Object.entries({ delayMs, maxDelayMs, mostAheadS })) {
      if (typeof value === "number" && value >= 0 && value <= limits[name]) continue;
      throw new RangeError(`${name} of PlayoutBuffer is ${told(value)}; give 0 to ${limits[name]}`);
    }
    if (encoding !== "int16" && encoding !== "mulaw") {
      throw new RangeError(`encoding of PlayoutBuffer is ${told(encoding)}; give "int16" or "mulaw"`);
    }
    const block = Math.round((packetMs * sampleRate) / 1000);
    this.concealer = new Concealer({ sampleRate, channels, packetSamples: block, ...others });
    const step = others.module ?? compiled();
    const { exports } = new WebAssembly.Instance(step, mathematics(step));
    const at = this.concealer.places.receiver;
    const form = encoding === "mulaw" ? at.mulaw : at.int16;
    const line = aligned(exports.__heap_base.value);
    Object.assign(this, { rate: sampleRate, channels, block, exports, at, form, line });
    this.half = new Uint8Array(0); // bytes that are less than a sample of each channel
    reserve(exports.memory, line + 8 * at.header);
    const shape = [sampleRate, channels, block, this.concealer.lookahead].map(BigInt);
    const bytes = exports.plck_receive_size(line, ...shape, delayMs / 1000, maxDelayMs / 1000, mostAheadS);
    this.scratch = aligned(line + Number(bytes));
    this.views(0);
    exports.plck_receive_open(line);
  }

  // The arrays of the receiver, with room for so many bytes behind it: memory that grew is another buffer.
  views(bytes) {
    const { at, block, channels, line } = this;
    const { memory } = this.exports;
    reserve(memory, this.scratch + bytes);
    const { buffer } = memory;
    if (this.seen?.bytes.buffer !== buffer) {
      const words = new BigInt64Array(buffer, line, at.header);
      this.seen = {
        words,
        inbox: new Float32Array(buffer, line + Number(words[at.inbox]), block * channels),
        missing: new BigInt64Array(buffer, line + Number(words[at.missing]), 2 * block),
        bytes: new Uint8Array(buffer),
      };
    }
    return this.seen;
  }

  // Samples of each channel: made up because they came too late, were lost, or were not sent.
  get stats() {
    const { words } = this.views(0);
    const word = (name) => Number(words[this.at[name]]);
    return {
      receivedSamples: word("takenSamples"),
      duplicateSamples: word("doubleSamples"),
      lateSamples: word("lateSamples") - word("held"),
      lostSamples: word("lostSamples") - word("starved"),
      unsentSamples: word("unsent") + word("held") + word("starved"),
      refusedSamples: word("refusedSamples"),
      overflowSamples: word("overflowSamples"),
      jumps: word("jumps"),
    };
  }

  // Milliseconds that are held ahead of what is played.
  get bufferedMs() {
    return (1000 * Number(this.exports.plck_receive_waiting(this.line))) / this.rate;
  }

  // Takes a piece in: Float32Array or Int16Array, interleaved; bytes of the encoding (ArrayBuffer,
  // Uint8Array), which need not end with a whole sample; or AudioData of WebCodecs, whose time stamp
  // counts if no other is given. timestampUs: microseconds in the sender's stream, which go on through a
  // pause as time does; null: it follows the piece before. Returns how many samples of each channel are
  // new, and in time. Throws RangeError, and takes nothing, if that is no piece, or no time.
  put(data, timestampUs = data?.timestamp ?? null) {
    const { at, channels, exports } = this;
    const position = positionOf(timestampUs, this.rate);
    const given = rawBytes(data);
    const piece = isBytes(given) ? this.whole(given, position !== null) : samplesOf(given, channels, this.rate);
    const form = isBytes(given) ? this.form : at.float32;
    const count = piece.byteLength / this.frame(form);
    if (!count) return 0;
    const { bytes } = this.views(piece.byteLength);
    bytes.set(new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength), this.scratch);
    return Number(exports.plck_receive_put(
      this.line, this.scratch, BigInt(form), BigInt(count), BigInt(position ?? 0), position === null ? 0n : 1n,
    ));
  }

  // Bytes of a sample of each channel.
  frame(form) {
    return this.channels * (form === this.at.float32 ? 4 : form === this.at.int16 ? 2 : 1);
  }

  // Bytes with those that were left, up to a whole sample; what is left of the piece before is not the
  // beginning of one that has a place.
  whole(given, isPlaced) {
    const half = isPlaced ? new Uint8Array(0) : this.half;
    const all = new Uint8Array(half.length + given.length);
    all.set(half);
    all.set(given, half.length);
    const count = all.length - (all.length % this.frame(this.form));
    this.half = all.slice(count);
    return all.subarray(0, count);
  }

  // Says that sound ends with the newest piece: silence follows it, until another comes.
  end() {
    this.half = new Uint8Array(0);
    this.exports.plck_receive_end(this.line);
  }

  // Drops what waits, faded out in 5 ms; the next piece is played at once, whatever its time stamp.
  clear() {
    this.half = new Uint8Array(0);
    this.exports.plck_receive_clear(this.line);
  }

  // As new, with the same settings and its counters: the next piece waits for delayMs again.
  reset() {
    this.clear();
    this.exports.plck_receive_open(this.line);
    this.concealer.reset();
  }

  // Returns the next samples of each channel to play: samples, a Float32Array, interleaved; madeUp, a
  // Uint8Array, 1 where nothing had arrived. Throws RangeError if that is no number of samples.
  take(count) {
    const { bytes, madeUp } = this.taken(count, this.at.float32);
    return { samples: new Float32Array(bytes.buffer), madeUp };
  }

  // Returns them as bytes of the encoding: bytes, a Uint8Array, and madeUp.
  takeBytes(count) {
    return this.taken(count, this.form);
  }

  taken(count, form) {
    if (!Number.isSafeInteger(count) || count < 0) {
      throw new RangeError(`PlayoutBuffer.take got ${told(count)}; give a number of samples`);
    }
    const { block, exports, line, scratch } = this;
    const frame = this.frame(form);
    const [bytes, madeUp] = [new Uint8Array(count * frame), new Uint8Array(count)];
    const marks = scratch + block * frame;
    for (let done = 0; ;) {
      const { bytes: given } = this.views(block * (frame + 1));
      const left = BigInt(count - done);
      const some = Number(exports.plck_receive_give(line, scratch, BigInt(form), marks, left));
      bytes.set(given.subarray(scratch, scratch + some * frame), done * frame);
      madeUp.set(given.subarray(marks, marks + some), done);
      done += some;
      if (done === count) return { bytes, madeUp };
      this.play();
    }
  }

  // Plays the next block: conceals what it needs.
  play() {
    const { at, concealer, exports, line } = this;
    for (;;) {
      const parts = Number(exports.plck_receive_due(line));
      if (parts === at.none) return;
      const { inbox, missing } = this.views(0);
      const part = (k) => [Number(missing[2 * k]), Number(missing[2 * k + 1])];
      const behind = this.behind();
      if (parts === at.all) inbox.set(concealer.push(null, NO_PARTS, behind));
      else inbox.set(concealer.push(inbox, Array.from({ length: parts }, (_, k) => part(k)), behind));
      exports.plck_receive_append(line);
    }
  }

  // What is known behind the block that is due, as push takes it.
  behind() {
    const { at, channels, concealer: { behindSamples }, exports, line } = this;
    const rows = Number(exports.plck_receive_known(line, BigInt(behindSamples)));
    if (!rows) return NO_PARTS;
    const { bytes: { buffer }, words } = this.views(0);
    const ring = line + Number(words[at.ring]);
    const parts = new BigInt64Array(buffer, line + Number(words[at.parts]), 4 * rows);
    return Array.from({ length: rows }, (_, k) => {
      const [cell, samples, distance] = [1, 2, 3].map((column) => Number(parts[4 * k + column]));
      return [distance, new Float32Array(buffer, ring + 4 * channels * cell, samples * channels)];
    });
  }
}

function reserve(memory, bytes) {
  const lacking = bytes - memory.buffer.byteLength;
  if (lacking > 0) memory.grow(Math.ceil(lacking / PAGE_BYTES));
}
