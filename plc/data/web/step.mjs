// One stream of the compiled step: packets in, as many samples out.
//
// The step keeps all it knows of a stream in one block of its memory. Memory is allocated when the
// stream is opened; afterwards no push allocates anything in it, and it never grows, so the views
// made here stay valid. For the page, its AudioWorklet and node alike.

export const CONCEALED = 1;
export const REFUSED = 4;

// What the step answers beside them: the packet is not done.
const MORE = 512;
const FLAGS = 7;
const PAGE_BYTES = 65536;
const SETTINGS_WORDS = 16;
// Words of a block, as plc_kernels/stream/layout.py has them: concealed samples, and those of them
// that a network made.
const CONCEALED_SAMPLES = 155;
const NETWORK_SAMPLES = 201;
// Words of a network's flat file, as plc_kernels/stream/model.py has them.
const MODEL = { bytes: 1, lowestRate: 4, highestRate: 5, words: 27 };
const MAGIC = "plcmodl1";

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

const aligned = (address) => (address + 63) & ~63;

// Whether these bytes are a network's flat file (`plc c models`), and a whole one.
export function isModel(model) {
  if (model.length < 8 * MODEL.words) return false;
  if (!Array.from(MAGIC).every((letter, i) => model[i] === letter.charCodeAt(0))) return false;
  return modelWord(model, MODEL.bytes) === model.length;
}

// Whether a network serves this sample rate in Hz.
export function serves(model, sampleRate) {
  return isModel(model) && modelWord(model, MODEL.lowestRate) <= sampleRate &&
    sampleRate <= modelWord(model, MODEL.highestRate);
}

const modelWord = (model, place) =>
  Number(new DataView(model.buffer, model.byteOffset).getBigInt64(8 * place, true));

// A stream with these settings: sampleRate in Hz, channels, packetSamples of each channel,
// lookahead in packets, rung of the ladder of predictors (0 is the best), seed of the noise, and
// the bytes of a network for speech, or null. The stream has a copy of them in its memory.
// Throws RangeError if one is out of its range, or the network does not serve the rate.
export function open(module, settings) {
  return new Stream(module, settings);
}

class Stream {
  constructor(module, {
    sampleRate, channels, packetSamples, lookahead = 0, rung = 0, seed = 0, model = null,
  }) {
    if (model && !serves(model, sampleRate)) {
      throw new RangeError(`the model has no network for ${sampleRate} Hz`);
    }
    const { exports } = new WebAssembly.Instance(module, mathematics(module));
    const { memory } = exports;
    const settings = aligned(exports.__heap_base.value);
    this.model = model ? settings + 8 * SETTINGS_WORDS : 0;
    this.block = aligned(settings + 8 * SETTINGS_WORDS + (model?.length ?? 0));
    const words = [sampleRate, channels, packetSamples, lookahead, seed, rung, 0, this.model];
    reserve(memory, this.block);
    if (model) new Uint8Array(memory.buffer).set(model, this.model);
    const set = new BigInt64Array(memory.buffer, settings, SETTINGS_WORDS).fill(0n);
    words.forEach((word, i) => { set[i] = BigInt(word); });
    const bytes = Number(exports.plck_size(settings));
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
    this.words = new BigInt64Array(memory.buffer, this.block, NETWORK_SAMPLES + 1);
    this.flags = 0;
    exports.plck_open(this.block, settings);
  }

  // Takes a packet, interleaved, or null for one that was lost. Returns what to play: a view that
  // the next push overwrites. `flags` says what was done.
  push(packet) {
    if (packet !== null) this.in.set(packet);
    const arrived = packet === null ? 0n : 1n;
    const { exports, block, model, inAt, outAt } = this;
    let flags = exports.plck_push(block, inAt, arrived, 0, 0n, outAt, 0n);
    let all = Number(flags);
    while (Number(flags) & MORE) {
      exports.plck_fill(block, model, flags);
      flags = exports.plck_resume(block, outAt, 0n);
      all |= Number(flags);
    }
    this.flags = all & FLAGS;
    return this.out;
  }

  // Samples of each channel that were concealed so far.
  get concealedSamples() {
    return Number(this.words[CONCEALED_SAMPLES]);
  }

  // Those of them that the network made.
  get networkSamples() {
    return Number(this.words[NETWORK_SAMPLES]);
  }

  // As new, with the same settings.
  reset() {
    this.exports.plck_reset(this.block);
  }
}

function reserve(memory, bytes) {
  const lacking = bytes - memory.buffer.byteLength;
  if (lacking > 0) memory.grow(Math.ceil(lacking / PAGE_BYTES));
}
