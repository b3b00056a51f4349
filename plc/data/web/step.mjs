// One stream of the compiled step: packets in, as many samples out.
//
// The step keeps all it knows of a stream in one block of its memory. Memory is allocated when the
// stream is opened; afterwards no push allocates anything in it, and it never grows, so the views
// made here stay valid. For the page, its AudioWorklet and node alike.

export const CONCEALED = 1;
export const REFUSED = 4;

const PAGE_BYTES = 65536;
const SETTINGS_WORDS = 16;

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

// A stream with these settings: sampleRate in Hz, channels, packetSamples of each channel,
// lookahead in packets, rung of the ladder of predictors (0 is the best), seed of the noise.
// Throws RangeError if one is out of its range.
export function open(module, settings) {
  return new Stream(module, settings);
}

class Stream {
  constructor(module, { sampleRate, channels, packetSamples, lookahead = 0, rung = 0, seed = 0 }) {
    const { exports } = new WebAssembly.Instance(module, mathematics(module));
    const { memory } = exports;
    const words = [sampleRate, channels, packetSamples, lookahead, seed, rung];
    const settings = aligned(exports.__heap_base.value);
    reserve(memory, settings + 8 * SETTINGS_WORDS);
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
    this.block = settings + 8 * SETTINGS_WORDS;
    this.inAt = aligned(this.block + bytes);
    this.outAt = aligned(this.inAt + 4 * samples);
    reserve(memory, this.outAt + 4 * samples);
    this.exports = exports;
    this.in = new Float32Array(memory.buffer, this.inAt, samples);
    this.out = new Float32Array(memory.buffer, this.outAt, samples);
    this.flags = 0;
    exports.plck_open(this.block, settings);
  }

  // Takes a packet, interleaved, or null for one that was lost. Returns what to play: a view that
  // the next push overwrites. `flags` says what was done.
  push(packet) {
    if (packet !== null) this.in.set(packet);
    const arrived = packet === null ? 0n : 1n;
    this.flags = Number(
      this.exports.plck_push(this.block, this.inAt, arrived, 0, 0n, this.outAt, 0n),
    );
    return this.out;
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
