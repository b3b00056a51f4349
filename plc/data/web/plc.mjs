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
const SETTINGS_WORDS = 16;
// Words of a block, as plc_kernels/stream/layout.py has them: what a stream counts.
const COUNTERS = {
  totalSamplesReceived: 154,
  concealedSamples: 155,
  silentConcealedSamples: 156,
  concealmentEvents: 157,
  packets: 158,
  lostPackets: 159,
  invalidPackets: 161,
  crossfadedSamples: 162,
  bridgedSamples: 163,
  fillsLimited: 164,
  longestBurstSamples: 167,
  networkSamples: 201,
};
// Words of a network's file, as plc_kernels/stream/model_file.py has them, and of the block that is
// made of it (plc_kernels/stream/model.py), which its first part begins.
const FILE = { bytes: 1, blockBytes: 3, parts: 4, head: 6 };
const MODEL = { lowestRate: 4, highestRate: 5, words: 27 };
const MAGIC = "plcmodl2";
const MODELS = [["speech", 16000, 96000], ["speech-narrowband", 8000, 15999]];

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

// The name of the network for a sample rate in Hz, or null: there is none.
export function modelFor(sampleRate) {
  const found = MODELS.find(([, lowest, highest]) => lowest <= sampleRate && sampleRate <= highest);
  return found ? found[0] : null;
}

// The file of the network for a sample rate, fetched from a folder; null where there is none for it.
// Throws Error if the folder does not have it, or it did not come whole.
export async function fetchModel(sampleRate, folder = "./") {
  const name = modelFor(sampleRate);
  if (name === null) return null;
  const file = `${folder}${name}.plcm`;
  const answer = await fetch(file).catch(() => null);
  const bytes = answer?.ok ? new Uint8Array(await answer.arrayBuffer().catch(() => [])) : null;
  if (bytes && isModel(bytes)) return bytes;
  throw new Error(`the network cannot be fetched from ${file}`);
}

// Whether these bytes are a network's file (`plc c models`), as far as its beginning tells. What
// makes a stream checks it whole.
export function isModel(model) {
  if (model.length < 8 * MODEL.words) return false;
  if (!Array.from(MAGIC).every((letter, i) => model[i] === letter.charCodeAt(0))) return false;
  return wordOf(model, FILE.bytes) === model.length && firstWord(model) <= model.length / 8;
}

// Whether a network serves this sample rate in Hz.
export function serves(model, sampleRate) {
  if (!isModel(model)) return false;
  const named = firstWord(model);
  return wordOf(model, named + MODEL.lowestRate) <= sampleRate &&
    sampleRate <= wordOf(model, named + MODEL.highestRate);
}

const wordOf = (model, place) =>
  Number(new DataView(model.buffer, model.byteOffset).getBigInt64(8 * place, true));

// The first word of the block in its file.
const firstWord = (model) => FILE.head + 2 * wordOf(model, FILE.parts);

const aligned = (address) => (address + 63) & ~63;

// One stream.
export class Concealer {
  // Settings: sampleRate in Hz, channels, packetSamples of each channel, lookahead in packets by
  // which the output is delayed, rung of the ladder of predictors (0 is the best, 11 the cheapest),
  // seed of the comfort noise, model: the file of a network for speech (of which the stream keeps a
  // copy), or null; module: what compiled() returns, where it is at hand.
  // Throws RangeError if one is out of its range, the network does not serve the rate, or is damaged.
  constructor({
    sampleRate, channels = 1, packetSamples, lookahead = 0, rung = 0, seed = 0, model = null,
    module = compiled(),
  }) {
    if (model && !isModel(model)) throw new RangeError("the model is damaged, or none");
    if (model && !serves(model, sampleRate)) {
      throw new RangeError(`the model has no network for ${sampleRate} Hz`);
    }
    const { exports } = new WebAssembly.Instance(module, mathematics(module));
    const { memory } = exports;
    const settings = aligned(exports.__heap_base.value);
    this.block = aligned(settings + 8 * SETTINGS_WORDS);
    this.model = 0;
    reserve(memory, this.block);
    if (model) this.takeModel(exports, model);
    const words = [sampleRate, channels, packetSamples, lookahead, seed, rung, 0, this.model];
    const whole = words.every(Number.isSafeInteger);
    const set = new BigInt64Array(memory.buffer, settings, SETTINGS_WORDS).fill(0n);
    if (whole) words.forEach((word, i) => { set[i] = BigInt(word); });
    const bytes = whole ? Number(exports.plck_size(settings)) : 0;
    if (!bytes) {
      throw new RangeError(
        `the engine does not take ${sampleRate} Hz, ${channels} channels, packets of ` +
        `${packetSamples} samples and a lookahead of ${lookahead} packets; it takes 8000 to ` +
        "192000 Hz, 1 to 8 channels, packets of 1 to 120 ms and a lookahead of up to 2 s",
      );
    }
    const samples = channels * packetSamples;
    this.inAt = aligned(this.block + bytes);
    this.outAt = aligned(this.inAt + 4 * samples);
    reserve(memory, this.outAt + 4 * samples);
    this.exports = exports;
    this.in = new Float32Array(memory.buffer, this.inAt, samples);
    this.out = new Float32Array(memory.buffer, this.outAt, samples);
    this.words = new BigInt64Array(memory.buffer, this.block, COUNTERS.networkSamples + 1);
    this.lookahead = lookahead;
    // Samples of each channel by which the output lags.
    this.delay = lookahead * packetSamples;
    // What was done in the last push: a sum of CONCEALED, CROSSFADED and REFUSED.
    this.flags = 0;
    exports.plck_open(this.block, settings);
  }

  // Makes a network of its file, which lies where the stream will.
  takeModel(exports, model) {
    const { memory } = exports;
    const bytes = wordOf(model, FILE.blockBytes);
    const after = aligned(this.block + Math.min(bytes, 2 * model.length));
    reserve(memory, after + model.length);
    const file = new Uint8Array(memory.buffer, after, model.length);
    file.set(model);
    const size = Number(exports.plck_model_size(after, BigInt(model.length)));
    if (size !== bytes || !exports.plck_model_open(after, BigInt(model.length), this.block)) {
      throw new RangeError("the model is damaged");
    }
    file.fill(0);
    this.model = this.block;
    this.block = after;
  }

  // Takes a packet, interleaved, or null for one that was lost. Returns what to play: a view that
  // the next push overwrites. A packet with NaN, infinity or a sample above 1e6 counts as lost.
  // Throws RangeError if a packet has another length.
  push(packet) {
    if (packet !== null) {
      if (packet.length !== this.in.length) {
        throw new RangeError(`a packet has ${this.in.length} samples, not ${packet.length}`);
      }
      this.in.set(packet);
    }
    const { exports, block, inAt, outAt } = this;
    const arrived = packet === null ? 0n : 1n;
    return this.finish(exports.plck_push(block, inAt, arrived, 0, 0n, outAt, 0n));
  }

  // What the lookahead holds, `delay` samples of each channel; then the stream begins anew, with its
  // counters as they are.
  flush() {
    const { exports, block, in: { length }, lookahead, outAt } = this;
    const rest = new Float32Array(lookahead * length);
    for (let k = 0; k < lookahead; k++) {
      rest.set(this.finish(exports.plck_drain(block, outAt, 0n)), k * length);
    }
    const counted = Object.values(COUNTERS).map((word) => this.words[word]);
    this.reset();
    Object.values(COUNTERS).forEach((word, i) => { this.words[word] = counted[i]; });
    return rest;
  }

  finish(begun) {
    const { exports, block, model, outAt } = this;
    let flags = Number(begun);
    let all = flags;
    while (flags & MORE) {
      exports.plck_fill(block, model, BigInt(flags));
      flags = Number(exports.plck_resume(block, outAt, 0n));
      all |= flags;
    }
    this.flags = all & FLAGS;
    return this.out;
  }

  // Samples of each channel that were concealed so far, and those of them that the network made.
  get concealedSamples() {
    return Number(this.words[COUNTERS.concealedSamples]);
  }

  get networkSamples() {
    return Number(this.words[COUNTERS.networkSamples]);
  }

  // All that was counted since the beginning, by name; samples once for all channels. Names that
  // WebRTC's statistics have are theirs.
  get counters() {
    return Object.fromEntries(
      Object.entries(COUNTERS).map(([name, word]) => [name, Number(this.words[word])]),
    );
  }

  // As new, with the same settings.
  reset() {
    this.exports.plck_reset(this.block);
    this.flags = 0;
  }
}

function reserve(memory, bytes) {
  const lacking = bytes - memory.buffer.byteLength;
  if (lacking > 0) memory.grow(Math.ceil(lacking / PAGE_BYTES));
}
