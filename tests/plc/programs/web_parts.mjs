// node web_parts.mjs FOLDER CHECK MODELS: the page's parts that need no browser, one check for each.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, check, networks] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(join(folder, name)));
const module = () => new WebAssembly.Module(readFileSync(join(folder, "plc.wasm")));
const model = (name = "speech") => new Uint8Array(readFileSync(join(networks, `${name}.plcm`)));
const near = (a, b, apart) => assert.ok(Math.abs(a - b) <= apart, `${a} is not within ${apart} of ${b}`);

const RATE = 48000;
const PACKET = 480;
const settings = { sampleRate: RATE, channels: 1, packetSamples: PACKET };
const sine = (packets, channels = 1) => Float32Array.from(
  { length: packets * PACKET * channels },
  (_, i) => 0.5 * Math.sin((2 * Math.PI * 440 * Math.floor(i / channels)) / RATE + (i % channels)),
);

// Plays a signal through lanes; at(k) is called before packet k. Returns all that was played.
function played(lanes, signal, trace, at = () => {}) {
  const samples = signal.length / trace.length;
  const heard = new Float32Array(signal.length);
  trace.forEach((lost, k) => {
    at(k);
    heard.set(lanes.push(signal.subarray(k * samples, (k + 1) * samples), lost), k * samples);
  });
  return heard;
}

const steepest = (x) => x.reduce((most, value, i) => (i ? Math.max(most, Math.abs(value - x[i - 1])) : 0), 0);

// PlcNode without a browser: its processor, and its worker, which may be late. Pieces of 20 ms have in each
// sample its time, and come in time.
async function simulated(given, k) {
  const clock = { ms: 0, out: 0 };
  const mail = [];
  const told = [];
  let Playout = null;
  Object.assign(globalThis, {
    sampleRate: RATE, onmessage: null, setTimeout: () => 0, setInterval: (tell, _, ...of) => { sound.tell = () => tell(...of); },
    postMessage: (message) => { sound.stats = message.stats; },
    AudioWorkletProcessor: class { port = { postMessage: (message) => told.push(message) }; },
    registerProcessor: (_, made) => { Playout = made; },
  });
  Date.now = () => clock.ms;
  for (const name of ["plc-processor.mjs", "plc-worker.mjs"]) await import(`${pathToFileURL(join(folder, name))}?${k}`);
  const { channels = 1 } = given;
  const ahead = 0.03 * RATE;
  const toWorker = { postMessage: (data) => mail.push(() => toAudio.onmessage({ data })) };
  const toAudio = { postMessage: (data) => toWorker.onmessage({ data }) };
  const page = (data) => mail.push(() => onmessage({ data }));
  const processor = new Playout({ processorOptions: { ahead, channels } });
  const sound = { heard: [], send: true, starved: () => told.at(-1)?.starved ?? 0 };
  const put = () => {
    const at = clock.out + sound.stopped;
    const piece = Float32Array.from({ length: 960 * channels }, (_, i) => (at + Math.floor(i / channels)) / 2 ** 21);
    page({ piece, timestampUs: (1e6 * at) / RATE });
  };
  sound.stopped = 0; // samples
  // Plays for some seconds; late(ms): whether the worker is late then.
  sound.render = (seconds, late = () => false) => {
    for (const end = clock.out + seconds * RATE; clock.out < end; clock.out += 64, clock.ms += 64000 / RATE) {
      if (sound.send && clock.out % 960 === 0) put();
      if (!late(clock.ms)) for (; mail.length; mail.shift()) mail[0]();
      if (clock.out % 128) continue;
      const output = Array.from({ length: channels }, () => new Float32Array(128));
      assert.ok(processor.process([], [output]));
      output.forEach((row) => assert.deepEqual(row, output[0]));
      sound.heard.push(...output[0]);
    }
    sound.tell();
  };
  // Lets so many milliseconds pass in which the audio thread stands still.
  sound.stop = (ms) => {
    for (let at = 0; at < ms; at += 20, sound.stopped += 960) put();
    clock.ms += ms;
  };
  sound.clear = () => page({ call: "clear" });
  sound.lag = () => clock.out + sound.stopped - 2 ** 21 * sound.heard.at(-1);
  processor.port.onmessage({ data: { port: toWorker, since: clock.ms } });
  page({ settings: { ...given, sampleRate: RATE, module: module() }, port: toAudio, ahead });
  mail.shift()();
  return sound;
}

const checks = {
  async losses() {
    const { Losses } = await load("losses.mjs");
    for (const [share, burst] of [[0.1, 1.5], [0.3, 4], [0.5, 1], [0, 2]]) {
      const losses = new Losses({ share, burst, seed: 7 });
      const trace = Array.from({ length: 200000 }, () => losses.next());
      const lost = trace.filter(Boolean).length;
      const bursts = trace.filter((each, k) => each && !trace[k - 1]).length;
      near(lost / trace.length, share, 0.01);
      if (lost) near(lost / bursts, burst, 0.1 * burst);
    }
    const forced = new Losses({ share: 0, burst: 1 });
    forced.force(3);
    assert.deepEqual([1, 2, 3, 4, 5].map(() => forced.next()), [true, true, true, false, false]);
    forced.set(1, 1);
    assert.ok(Array.from({ length: 100 }, () => forced.next()).every(Boolean));
  },

  // Each lane is what it says, and all lag alike.
  async lanes() {
    const { Lanes } = await load("lanes.mjs");
    const { Concealer } = await load("plc.mjs");
    const packets = 40;
    const trace = Array.from({ length: packets }, (_, k) => [9, 10, 20, 33].includes(k));
    for (const [channels, lookahead] of [[1, 0], [2, 0], [1, 2]]) {
      const all = { ...settings, channels, lookahead };
      const signal = sine(packets, channels);
      const n = PACKET * channels;
      const lag = lookahead * n;
      const heard = {};
      for (const lane of ["silence", "repetition", "past", "plc", "original"]) {
        heard[lane] = played(new Lanes(module(), all, lane), signal, trace);
      }
      const step = new Concealer({ ...all, module: module() });
      const alone = new Concealer({ ...all, lookahead: 0, module: module() });
      trace.forEach((lost, k) => {
        const own = step.push(lost ? null : signal.subarray(k * n, (k + 1) * n));
        assert.deepEqual(heard.plc.subarray(k * n, (k + 1) * n), own);
      });
      const packet = (x, k) => x.subarray(k * n + lag, (k + 1) * n + lag);
      for (let k = 0; k < packets - lookahead; k++) {
        const truth = signal.subarray(k * n, (k + 1) * n);
        assert.deepEqual(packet(heard.past, k), alone.push(trace[k] ? null : truth));
        assert.deepEqual(packet(heard.original, k), truth);
        assert.deepEqual(packet(heard.silence, k), trace[k] ? new Float32Array(n) : truth);
        if (trace[k]) {
          assert.deepEqual(packet(heard.repetition, k), packet(heard.repetition, k - 1));
        } else {
          assert.deepEqual(packet(heard.repetition, k), truth);
        }
      }
    }
  },

  // Between lanes that differ in level alone, no step is larger than the fade of 10 ms makes it.
  async switching() {
    const { LANES, Lanes } = await load("lanes.mjs");
    const lanes = new Lanes(module(), settings, "original");
    lanes.step.push = () => silence;
    const silence = new Float32Array(PACKET);
    const signal = sine(60);
    const turns = { 10: "plc", 20: "original", 30: "plc", 31: "silence", 32: "plc", 40: "repetition" };
    const heard = played(lanes, signal, Array(60).fill(false), (k) => turns[k] && lanes.choose(turns[k]));
    assert.ok(steepest(heard) <= steepest(signal) + 0.5 / (0.01 * RATE) + 1e-6);
    assert.deepEqual(heard.subarray(25 * PACKET, 30 * PACKET), signal.subarray(25 * PACKET, 30 * PACKET));
    assert.ok(heard.subarray(12 * PACKET, 20 * PACKET).every((x) => x === 0));
    assert.deepEqual(heard.subarray(45 * PACKET), signal.subarray(45 * PACKET));
    assert.equal(LANES.length, 5);
  },

  // What the worker gives back is played in order and as long after the input as is told. Where it is
  // late there is silence, and the delay grows up to a limit.
  async worklet() {
    const told = [];
    let Playing = null;
    globalThis.sampleRate = RATE;
    globalThis.AudioWorkletProcessor = class {
      port = { postMessage: (message) => told.push(message) };
    };
    globalThis.registerProcessor = (_, given) => { Playing = given; };
    await load("worklet.mjs");
    for (const channels of [1, 2]) {
      told.length = 0;
      const node = new Playing({ processorOptions: { channels, packetSamples: PACKET } });
      const late = [];
      let answers = true;
      const worker = { postMessage: (packet) => (answers ? worker.onmessage({ data: packet }) : late.push(packet)) };
      node.port.onmessage({ data: { worker } });
      let at = 0;
      const heard = [];
      const render = (seconds) => {
        for (let n = Math.round((seconds * RATE) / 128); n > 0; n--) {
          const input = Array.from({ length: channels }, (_, c) => Float32Array.from({ length: 128 }, (_, i) => (at + i + 1) * (c + 1)));
          const output = input.map(() => new Float32Array(128));
          assert.ok(node.process([input], [output]));
          if (channels === 2) output[0].forEach((x, i) => assert.equal(output[1][i], 2 * x));
          heard.push(...output[0]);
          at += 128;
        }
      };
      const follows = () => heard.at(-1) + Math.round(told.at(-1).delayS * RATE) === at;
      render(0.5);
      assert.ok(follows() && told.length === 1 && told[0].dropouts === 0);
      assert.ok(told[0].delayS >= 0.04 && told[0].delayS < 0.06);
      const before = at;
      answers = false;
      render(0.1);
      assert.equal(heard.at(-1), 0);
      answers = true;
      for (const packet of late.splice(0)) worker.onmessage({ data: packet });
      render(0.1);
      assert.ok(follows() && told.at(-1).dropouts === 1);
      assert.ok(told.at(-1).delayS > told[0].delayS + 0.03);
      const played = heard.filter((x) => x !== 0);
      assert.ok(played.every((x, i) => x === i + 1)); // nothing is left out
      assert.ok(played.length > before - 0.1 * RATE);
      // A worker that is away for long: its packets are not kept without end.
      answers = false;
      render(3);
      assert.ok(late.length <= 50);
      answers = true;
      for (const packet of late.splice(0)) worker.onmessage({ data: packet });
      render(2);
      assert.ok(told.at(-1).dropouts === 2 && told.at(-1).delayS < 0.6);
      assert.ok(heard.at(-1) > 0);
      node.port.onmessage({ data: { end: true } });
      const silence = Array.from({ length: channels }, () => new Float32Array(128));
      assert.equal(node.process([[]], [silence]), false);
    }
  },

  async spectrum() {
    const { Spectra } = await load("spectrum.mjs");
    const n = 1024;
    const found = [];
    const spectra = new Spectra(n, 256, (db, mark) => found.push([Float32Array.from(db), mark]));
    const wave = Float32Array.from({ length: 4 * n }, (_, i) => Math.sin((2 * Math.PI * 100 * i) / n));
    spectra.push(wave, 0, 2 * n, 1, 0);
    spectra.push(wave, 2 * n, 4 * n, 1, 1);
    assert.equal(found.length, 16);
    const [db] = found[7];
    near(db[100], 0, 0.01);
    near(db[101], -6.02, 0.05);
    assert.ok(db[110] < -80);
    // A spectrum belongs to the middle of its window.
    assert.deepEqual(found.map(([, mark]) => mark), [...Array(9).fill(false), ...Array(7).fill(true)]);
    const stereo = new Spectra(n, n, (both) => near(both[100], -6.02, 0.05));
    stereo.push(Float32Array.from({ length: 2 * n }, (_, i) => (i % 2 ? 0 : wave[i / 2])), 0, 2 * n, 2, 0);
  },

  async figures() {
    const { Level, Times } = await load("figures.mjs");
    const times = new Times();
    assert.equal(times.summary(), null);
    for (let k = 1000; k > 0; k--) times.add(k);
    assert.deepEqual(times.summary(), { p50: 500, p99: 990, max: 1000 });
    for (let k = 0; k < 4000; k++) times.add(7); // older ones are forgotten
    assert.deepEqual(times.summary(), { p50: 7, p99: 7, max: 7 });
    const level = new Level();
    for (let k = 0; k < 200; k++) level.push(sine(1), 0, PACKET);
    near(level.db, 20 * Math.log10(0.5 / Math.SQRT2), 0.5);
  },

  async rungs() {
    const { RUNGS, affordableRung } = await load("measure.mjs");
    const short = { ...settings, packetSamples: 32 };
    for (const each of [settings, short]) {
      const rung = await affordableRung(module(), each);
      assert.ok(Number.isInteger(rung) && rung >= 0 && rung < RUNGS);
    }
  },

  // Settings out of range are refused in words, and so is a module that needs what is not here.
  async refusals() {
    const { Concealer, fetchModel, isModel, joined, modelFor, samplesOf, serves } = await load("plc.mjs");
    const wrong = [{ sampleRate: 7999 }, { sampleRate: 192001 }, { channels: 9 }, { packetSamples: 5761 },
      { packetSamples: 31 }, { lookahead: 201 }];
    for (const each of wrong) {
      assert.throws(() => new Concealer({ ...settings, ...each, module: module() }), { name: "RangeError", message: /8000 to 192000/ });
    }
    const stream = new Concealer({ ...settings, module: module() });
    for (const missing of [[[5, 5]], [[-1, 3]], [[0, 481]], [[4, 6], [6, 8]], [[9, 12], [2, 3]], [[0.5, 2]], [[NaN, 2]]]) {
      assert.throws(() => stream.push(new Float32Array(480), missing), RangeError);
    }
    assert.equal(stream.counters.packets, 0);
    // What is of another kind is told by its name, and what it was.
    for (const given of [undefined, null, 48000, {}]) {
      assert.throws(() => new Concealer(given), { name: "RangeError", message: /^sampleRate is undefined; give / });
    }
    for (const [other, message] of [
      [{ sampleRate: "48000" }, /^sampleRate is "48000"; give /], [{ lookahead: 0.5 }, /^lookahead is 0.5; give /],
      [{ model: "speech" }, /^the model is "speech"; give .* Uint8Array/], [{ content: "voice" }, /^content is "voice"; give /],
      [{ model: Promise.resolve() }, /^the model is of type Promise;/], [{ model: new ArrayBuffer(8) }, /^the model is of type ArrayBuffer;/],
      [{ limitMs: "fast" }, /^limitMs is "fast"; give /], [{ channel: 1 }, /^there is no setting channel;/],
    ]) {
      assert.throws(() => new Concealer({ ...settings, ...other, module: module() }), { name: "RangeError", message });
    }
    for (const [missing, message] of [[5, /^missing is 5;/], ["ab", /^missing is "ab";/], [[5], /^missing has /]]) {
      assert.throws(() => stream.push(null, missing), { name: "RangeError", message });
    }
    for (const [call, message] of [
      [() => modelFor("speech"), /^the sample rate is "speech"; give Hz/], [() => modelFor(48000, "voice"), /^there is no use "voice"; there are speech, /],
      [() => modelFor(48000, "toString"), /^there is no use "toString";/], [() => joined(new Uint8Array(8)), /given as a list/],
      [() => samplesOf(null, 1, 48000), /^a piece is /],
    ]) {
      assert.throws(call, { name: "RangeError", message });
    }
    await assert.rejects(fetchModel(48000, "speech"), { name: "RangeError", message: /^uses is "speech"; give a list/ });
    assert.equal(isModel("speech"), false);
    assert.equal(serves(null, 48000), false);
    const empty = new WebAssembly.Module(Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0]));
    assert.throws(() => new Concealer({ ...settings, module: empty }), /not the engine/);
    // (module (import "env" "getpid" (func)))
    const bytes = [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 2, 14, 1, 3, 101, 110, 118, 6,
      ...Buffer.from("getpid"), 0, 0];
    assert.throws(() => new Concealer({ ...settings, module: new WebAssembly.Module(Uint8Array.from(bytes)) }), /needs getpid/);
  },

  // What is known behind a lost packet is made use of; what is no such stretch is refused.
  async behind() {
    const { Concealer } = await load("plc.mjs");
    const [told, untold] = [0, 1].map(() => new Concealer({ ...settings, channels: 2, module: module() }));
    const packet = (k) => Float32Array.from({ length: 960 }, (_, i) => Math.sin(0.03 * (480 * k + (i >> 1)) + (i % 2)));
    for (let k = 0; k < 20; k++) for (const stream of [told, untold]) stream.push(packet(k));
    for (const [behind, message] of [
      [5, /^behind is 5;/], [[[-1, packet(0)]], /a second/], [[[48001, packet(0)]], /a second/], [[[0, [1, 2]]], /Float32Array/],
      [[[0, new Float32Array(3)]], /2 interleaved channels/], [[[0, new Float32Array(960).fill(NaN)]], /NaN/],
      [[5], /^behind has/], [[null], /^behind has/], [[[0, packet(21)], [-1, packet(21)]], /a second/],
      [[[0, packet(21)], [0, new Float32Array(960).fill(2e6)]], /1e6/],
    ]) {
      assert.throws(() => told.push(null, [], behind), { name: "RangeError", message });
    }
    assert.deepEqual(told.push(null), untold.push(null)); // nothing of what was refused is known
    for (let k = 21; k < 30; k++) for (const stream of [told, untold]) stream.push(packet(k));
    const behind = [[480, packet(32)], [0, packet(31)], [960, new Float32Array(96000)]];
    assert.notDeepEqual(told.push(null, [], behind), untold.push(null));
    assert.equal(told.counters.bridgedSamples, 480);
    assert.equal(untold.counters.bridgedSamples, 0);
    assert.deepEqual(told.push(packet(31)), packet(31));
    // It stays known until its turn, unless the next list has others, or none.
    told.push(packet(32), [], [[480, packet(34)]]);
    told.push(null);
    assert.equal(told.counters.bridgedSamples, 960);
    for (let k = 34; k < 38; k++) told.push(packet(k), [], k < 37 ? null : [[480, packet(39)]]);
    told.push(null, [], []);
    assert.equal(told.counters.bridgedSamples, 960);
  },

  // What is no network, not a whole one or for other rates is told before a stream is opened.
  async models() {
    const { Concealer, isModel, joined, modelFor, serves } = await load("plc.mjs");
    const opened = (given, other = {}) => new Concealer({ ...settings, ...other, model: given, module: module() });
    const refused = (given, message, other) => assert.throws(() => opened(given, other), { name: "RangeError", message });
    const whole = model();
    const other = whole.slice();
    other[0] ^= 1;
    const damaged = whole.slice();
    damaged[whole.length - 1000] ^= 1;
    const bridge = model("speech-bridge");
    // Without an end, a beginning or the right one; or with something else before, between or behind.
    const garbage = Uint8Array.from({ length: 4096 }, (_, i) => (i * 7919) & 255);
    const longer = whole.slice();
    new DataView(longer.buffer).setBigInt64(8, 1n << 62n, true);
    const shorter = whole.slice();
    new DataView(shorter.buffer).setBigInt64(8, 8n, true);
    for (const each of [
      new Uint8Array(0), whole.subarray(0, 64), whole.subarray(0, -8), whole.subarray(8), other, garbage, longer, shorter,
      joined([whole, garbage]), joined([garbage, whole]), joined([whole, new Uint8Array(8)]), joined([whole, new Uint8Array(1)]),
      joined([whole, whole.subarray(0, -8)]), joined([whole, other]), joined([other, whole]),
    ]) {
      assert.ok(!isModel(each) && !serves(each, 16000));
      refused(each, /no file of a network, nor several, or not whole/);
    }
    // Sums that do not agree are found where a stream is made.
    refused(damaged, /damaged: its 1\. file/);
    refused(joined([bridge, damaged]), /damaged: its 2\. file/);
    assert.deepEqual([8000, 16000, 48000, 96000, 192000].map((rate) => serves(whole, rate)),
      [false, true, true, true, false]);
    const narrow = { sampleRate: 8000, packetSamples: 80 };
    refused(whole, /no network for 8000 Hz/, narrow);
    const all = joined([whole, model("speech-narrowband"), bridge, model("music")]);
    assert.ok(isModel(all) && serves(all, 8000) && serves(all, 192000));
    // At any place in memory, too.
    assert.ok(isModel(joined([new Uint8Array(3), all]).subarray(3)));
    for (const [given, uses] of [
      [{}, ["speech", "music", "bridges"]], [narrow, ["speech", "bridges"]],
      [{ sampleRate: 192000, packetSamples: 1920, lookahead: 1 }, ["music"]],
    ]) {
      assert.deepEqual(opened(all, given).networks, uses);
    }
    assert.deepEqual(new Concealer({ ...settings, module: module() }).networks, []);
    const names = (use) => [7999, 8000, 15999, 16000, 48000, 48001, 96000, 96001, 192000].map((rate) => modelFor(rate, use));
    const [low, wide] = ["speech-narrowband", "speech"];
    assert.deepEqual(names(), [null, low, low, wide, wide, wide, wide, null, null]);
    assert.deepEqual(names("bridges"), [null, ...Array(4).fill("speech-bridge"), null, null, null, null]);
    assert.deepEqual(names("music"), [null, null, null, ...Array(6).fill("music")]);
  },

  // Files that were changed at random are refused in words, or conceal.
  async damage() {
    const { Concealer, joined } = await load("plc.mjs");
    const { Losses } = await load("losses.mjs");
    const { voice } = await load("measure.mjs");
    const draws = new Losses({ seed: 3 });
    const below = (end) => Math.floor(end * draws.draw());
    const engine = module();
    const signal = voice(16000);
    const parts = ["speech-narrowband", "speech-bridge", "speech"].map((name) => model(name));
    let refused = 0;
    for (let k = 0; k < 240; k++) {
      const files = parts.filter((_, i) => i === k % 3 || below(3) === 0).map((each) => each.slice());
      const words = new BigInt64Array(files[below(files.length)].buffer);
      for (let n = 1 + below(3); n > 0; n--) {
        const at = below(below(4) ? 200 : words.length);
        words[at] = [0n, -1n, 1n << 40n, 1n << 62n, words[at] + 1n, words[at] ^ (1n << BigInt(below(63)))][below(6)];
      }
      if (below(4)) words[2] = BigInt.asIntN(64, words.subarray(3).reduce((sum, each) => sum + each, 0n));
      const given = joined(files).subarray(0, below(8) ? undefined : below(1e6));
      try {
        const lookahead = below(2);
        const stream = new Concealer({ sampleRate: 16000, packetSamples: 320, lookahead, model: given, prepare: true, rung: 9, module: engine });
        for (let p = 0; p < 60; p++) {
          const heard = stream.push(p > 40 && p % 4 > 1 ? null : signal.subarray(320 * (p % 50), 320 * (p % 50) + 320));
          assert.ok(heard.every((x) => Math.abs(x) < 10));
          stream.prepare();
        }
      } catch (error) {
        assert.equal(error.name, "RangeError", error.stack);
        assert.match(error.message, /the model (is no file|is damaged|has no network)/);
        refused += 1;
      }
    }
    assert.ok(refused > 100 && refused < 240);
  },

  // What fetches gives one file of all, and says which does not come.
  async fetching() {
    const { fetchModel } = await load("plc.mjs");
    const asked = [];
    globalThis.fetch = async (file) => {
      asked.push(file);
      const name = file.split("/").at(-1).replace(".plcm", "");
      if (name === "music") throw new TypeError("fetch failed");
      return { ok: name !== "speech-bridge", arrayBuffer: async () => model(name).buffer };
    };
    const beside = (name) => pathToFileURL(join(folder, `${name}.plcm`)).href;
    assert.deepEqual(await fetchModel(48000), model());
    assert.equal(await fetchModel(192000), null);
    assert.equal((await fetchModel(8000, ["speech", "music"], "a/")).length, model("speech-narrowband").length);
    await assert.rejects(fetchModel(48000, ["speech", "bridges"], "./"), /cannot be fetched from \.\/speech-bridge\.plcm$/);
    await assert.rejects(fetchModel(48000, ["music"]), /music\.plcm; read that file/);
    assert.deepEqual(asked, [beside("speech"), "a/speech-narrowband.plcm", "./speech.plcm", "./speech-bridge.plcm", beside("music")]);
  },

  // The node is a class everywhere, so that its module can be imported; where there is no sound it says so.
  // What its worker would replace, or throw, is thrown at once.
  async node() {
    const context = { sampleRate: RATE, audioWorklet: { addModule() {} }, addEventListener() {} };
    const said = [];
    let made = null;
    globalThis.AudioWorkletNode = class {
      port = { postMessage() {} };
    };
    globalThis.Worker = class {
      constructor() { made = this; }
      postMessage(data) {
        said.push(data);
        if (data.settings) setTimeout(() => this.onmessage({ data: { stats: {}, bufferedMs: 0 } }));
      }
    };
    const { PlcNode } = await load("plc-node.mjs");
    await assert.rejects(PlcNode.create(), /^Error: PlcNode needs an AudioContext of a page/);
    for (const [given, message] of [
      [{ sampleRate: 24000 }, /^sampleRate is 24000, and .* 48000 Hz; .* new AudioContext\(\{ sampleRate: 24000 \}\)$/],
      [{ model: "speech" }, /give uses/], [{ model: null }, /give uses/], [{ channels: 0 }, /^channels is 0; give/], [{ uses: "speech" }, /give a list/],
    ]) {
      await assert.rejects(PlcNode.create(context, given), { name: "RangeError", message });
    }
    const node = await PlcNode.create(context, { sampleRate: RATE, uses: [] });
    const count = said.length;
    for (const stamp of [NaN, Infinity, "5", 1e30]) {
      assert.throws(() => node.put(new Int16Array(5), stamp), { name: "RangeError", message: /^the time stamp is / });
    }
    assert.throws(() => node.put([0, 1]), { name: "RangeError", message: /^a piece is / });
    assert.equal(said.length, count);
    node.put(new Int16Array(5), 20);
    assert.deepEqual([said.at(-1).piece.length, said.at(-1).timestampUs], [5, 20]);
    made.onerror({ message: "broken" });
    assert.throws(() => node.put(new Int16Array(5)), /^Error: plc-worker\.mjs: broken$/);
  },

  // Where the worker is late there is silence, and then what would have been heard without it. A context that
  // resumes begins anew, and what is cleared is not heard, but for a fade of 5 ms.
  async playout() {
    for (const [k, each] of [{}, { channels: 2 }, { maxDelayMs: 0 }, { lookahead: 1 }].entries()) {
      const { channels = 1, lookahead = 0 } = each;
      const least = Math.round((0.06 + 0.03 + 0.01 * lookahead) * RATE);
      const follows = (lag) => assert.ok(lag >= least && lag <= least + 0.025 * RATE, `${lag} behind ${least}`);
      const sound = await simulated({ delayMs: 60, ...each }, k);
      sound.render(1);
      follows(sound.lag());
      sound.render(10, (ms) => ms % 500 < 150);
      sound.render(1);
      follows(sound.lag());
      assert.ok(sound.starved() > 15 && sound.stats.lostSamples === 0);
      sound.stop(8000);
      sound.render(0.5);
      follows(sound.lag());
      const from = sound.heard.length;
      sound.clear();
      sound.send = false;
      sound.render(0.2);
      const behind = sound.heard.slice(from);
      assert.ok(behind.slice(0.03 * RATE).every((x) => x === 0));
      assert.ok(steepest(sound.heard.slice(from - 10)) < 1 / (0.005 * RATE) + 1e-3);
      sound.send = true;
      sound.render(0.1);
      assert.ok(each.maxDelayMs === 0 || sound.lag() < least - 0.04 * RATE); // a fixed delay stays
    }
  },

  // A loss that was prepared plays the same samples, in less time.
  async prepare() {
    const { Concealer } = await load("plc.mjs");
    const { voice } = await load("measure.mjs");
    const signal = voice(RATE);
    const run = (prepare) => {
      const stream = new Concealer({ ...settings, model: model(), prepare, module: module() });
      const heard = [];
      let ready = 0;
      for (let k = 0; k < 200; k++) {
        const at = (k * PACKET) % signal.length;
        heard.push(Array.from(stream.push(k > 80 && k % 9 < 2 ? null : signal.subarray(at, at + PACKET))));
        if (k > 60 && k % 9 !== 7) ready += stream.prepare(); // one burst that was not
      }
      const served = { ...stream.served };
      stream.reset();
      assert.equal(stream.prepare(), prepare); // of a stream that heard nothing, too
      return { heard, ready, served };
    };
    const [without, ahead] = [run(false), run(true)];
    assert.deepEqual(ahead.heard, without.heard);
    assert.deepEqual(ahead.served, without.served);
    assert.ok(ahead.served.speech > 5000);
    assert.equal(without.ready, 0);
    assert.ok(ahead.ready > 90);
    assert.equal(new Concealer({ ...settings, lookahead: 1, prepare: true, module: module() }).prepare(), false);
  },

  // What the cost of a network is measured on is told to be what it is for, so that it runs.
  async affords() {
    const { affordsNetwork, chord, voice } = await load("measure.mjs");
    const { Concealer } = await load("plc.mjs");
    const signals = { speech: voice, bridges: voice, music: chord };
    for (const sampleRate of [16000, 44100, 48000]) {
      for (const [use, name] of [["speech", "speech"], ["bridges", "speech-bridge"], ["music", "music"]]) {
        const packetSamples = sampleRate / 50;
        const lookahead = use === "bridges" ? 1 : 0;
        const stream = new Concealer({ sampleRate, packetSamples, lookahead, model: model(name), rung: 6, module: module() });
        const signal = signals[use](sampleRate);
        const made = [];
        for (let k = 0; k < 150; k++) {
          const at = (k % 50) * packetSamples;
          stream.push(k > 75 && k % 6 < 2 ? null : signal.subarray(at, at + packetSamples));
          made.push(stream.servedBy);
        }
        assert.ok(made.filter((each) => each === use).length >= 12, `${use} ${sampleRate}`);
      }
    }
    assert.equal(typeof await affordsNetwork(module(), { ...settings, model: model() }), "boolean");
    const short = { ...settings, packetSamples: 48 };
    assert.equal(await affordsNetwork(module(), { ...short, model: model() }), false);
    assert.equal(await affordsNetwork(module(), { ...short, packetSamples: 120, lookahead: 1, model: model("speech-bridge") }, "bridges"), false);
    assert.equal(await affordsNetwork(module(), { ...short, model: model("music") }, "music"), false);
  },

  async reset() {
    const { Concealer } = await load("plc.mjs");
    const stream = new Concealer({ ...settings, module: module() });
    const signal = sine(30);
    const run = () => Array.from({ length: 30 }, (_, k) =>
      Array.from(stream.push(k % 7 === 6 ? null : signal.subarray(k * PACKET, (k + 1) * PACKET))));
    const first = run();
    stream.reset();
    assert.deepEqual(run(), first);
  },

  // Packets of another length are refused, counters go on, what the lookahead holds comes out.
  async stream() {
    const { CONCEALED, CROSSFADED, Concealer, REFUSED } = await load("plc.mjs");
    const ahead = new Concealer({ ...settings, lookahead: 2, module: module() });
    const signal = sine(12);
    const packet = (k) => signal.subarray(k * PACKET, (k + 1) * PACKET);
    const heard = Array.from({ length: 12 }, (_, k) => Array.from(ahead.push(k === 8 ? null : packet(k))));
    assert.equal(ahead.delay, 2 * PACKET);
    const rest = ahead.flush();
    assert.equal(rest.length, 2 * PACKET);
    assert.deepEqual(heard[7], Array.from(packet(5)));
    assert.deepEqual(Array.from(rest), Array.from(signal.subarray(10 * PACKET)));
    const { concealedSamples, lostPackets, packets, totalSamplesReceived } = ahead.counters;
    assert.deepEqual({ concealedSamples, lostPackets, packets, totalSamplesReceived },
      { concealedSamples: PACKET, lostPackets: 1, packets: 12, totalSamplesReceived: 12 * PACKET });
    assert.deepEqual(Array.from(ahead.push(packet(0))), Array(PACKET).fill(0));
    for (const lost of [1, 1, 0, 0, 0]) ahead.push(lost ? null : packet(1));
    assert.deepEqual(ahead.served, { prediction: 3 * PACKET, speech: 0, music: 0, bridges: 0, noise: 0 });
    const plain = new Concealer({ ...settings, module: module() });
    assert.throws(() => plain.push(new Float32Array(PACKET - 1)), { name: "RangeError", message: /480 samples, not 479/ });
    for (const each of [NaN, 0.5, 2]) {
      assert.throws(() => new Concealer({ ...settings, packetSamples: each, module: module() }), { name: "RangeError" });
    }
    plain.push(packet(0));
    assert.equal(plain.flags, 0);
    assert.equal(plain.servedBy, null);
    plain.push(null);
    assert.equal(plain.flags, CONCEALED);
    assert.equal(plain.servedBy, "prediction");
    plain.push(packet(2));
    assert.equal(plain.flags, CROSSFADED);
    assert.equal(plain.servedBy, null);
    plain.push(new Float32Array(PACKET).fill(NaN));
    assert.equal(plain.flags, CONCEALED | REFUSED);
    for (let k = 0; k < 30; k++) plain.push(null);
    assert.equal(plain.servedBy, "noise");
    assert.equal(plain.served.prediction + plain.served.noise, plain.concealedSamples);
  },

  async recorder() {
    const { Recorder } = await load("recorder.mjs");
    const recorder = new Recorder(8000, 2);
    const given = Float32Array.from({ length: 50000 }, (_, i) => Math.sin(i) * 1.1);
    recorder.push(given, 10, 50000);
    near(recorder.seconds, 49990 / 16000, 1e-9);
    const bytes = new DataView(await recorder.wav().arrayBuffer());
    assert.equal(bytes.byteLength, 44 + 2 * 49990);
    assert.equal(bytes.getUint32(40, true), 2 * 49990);
    assert.deepEqual([20, 22, 32, 34].map((at) => bytes.getUint16(at, true)), [1, 2, 4, 16]);
    for (const k of [0, 1, 15999, 16000, 49989]) {
      const value = Math.min(1, Math.max(-1, given[10 + k]));
      near(bytes.getInt16(44 + 2 * k, true) / 32767, value, 1e-4);
    }
    for (let k = 0; k < 310; k++) recorder.push(new Float32Array(16000).fill(k / 400), 0, 16000);
    assert.ok(recorder.seconds <= 300 && recorder.seconds > 299);
    const newest = new DataView(await recorder.wav().arrayBuffer());
    near(newest.getInt16(newest.byteLength - 2, true) / 32767, 309 / 400, 1e-4);
  },
};

if (check === "names") console.log(JSON.stringify(Object.keys(checks)));
else await checks[check]();
