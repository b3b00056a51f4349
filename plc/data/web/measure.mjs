// What is fast enough here, in the thread that asks.

import { Losses } from "./losses.mjs";
import { Concealer } from "./plc.mjs";

export const RUNGS = 12;
// A lost packet may take so much of its duration; as in plc.Concealer, a rung is chosen that takes
// 72 % of the limit.
const BUDGET_SHARE = 0.75;
const CALM_SHARE = 0.72;
const WARM_MS = 250;
const PAST_S = 1.5;
const BETWEEN_S = 0.06;
const ROUNDS = 3;
const BURSTS = 5;
// Where the first lost packet does not wait for the network, the first after this time does.
const ONSET_S = 0.01;

// The time that a lost packet may take, in microseconds.
export function limitOf({ packetSamples, sampleRate }) {
  return (1e6 * BUDGET_SHARE * packetSamples) / sampleRate;
}

// Runs the step until the browser has compiled it as well as it can.
export async function warm(module, settings, signal = chord(settings.sampleRate)) {
  const end = performance.now() + WARM_MS;
  while (performance.now() < end) {
    costOf(module, settings, signal, 0);
    await new Promise((resume) => setTimeout(resume));
  }
}

// The best rung of the ladder that is fast enough here.
export async function affordableRung(module, settings) {
  const limit = CALM_SHARE * limitOf(settings);
  const signal = chord(settings.sampleRate);
  await warm(module, { ...settings, rung: 0 });
  for (let rung = 0; rung < RUNGS - 1; rung++) {
    await new Promise((resume) => setTimeout(resume));
    if (costOf(module, { ...settings, rung }, signal, limit) <= limit) return rung;
  }
  return RUNGS - 1;
}

// Whether the network in the settings, for "speech", "music" or "bridges", is fast enough here. It may
// take the whole limit, as it always does the same work.
export async function affordsNetwork(module, settings, use = "speech") {
  const limit = limitOf(settings);
  const signal = (use === "music" ? chord : voice)(settings.sampleRate);
  await warm(module, settings, signal);
  return costOf(module, settings, signal, limit) <= limit;
}

// A second of syllables, of a voice and of noise in turn: what is told to be speech.
export function voice(sampleRate) {
  const noise = new Losses({ seed: 1 });
  let phase = 0;
  return Float32Array.from({ length: sampleRate }, (_, i) => {
    const t = i / sampleRate;
    const hertz = 120 + 40 * Math.sin(2 * Math.PI * t);
    phase += (2 * Math.PI * hertz) / sampleRate;
    let sum = 0;
    for (let k = 1; k * hertz < 3500; k++) sum += Math.sin(k * phase) / k;
    const voiced = Math.max(0, Math.sin(8 * Math.PI * t));
    const hissing = t < 0.5 ? 1 - voiced : 0;
    return 0.1 * (voiced * sum + hissing * (noise.draw() - 0.5));
  });
}

// A second of steady tones, over a little noise: what takes longest, as music is fitted on a longer
// past than speech.
export function chord(sampleRate) {
  const noise = new Losses({ seed: 1 });
  return Float32Array.from({ length: sampleRate }, (_, i) => {
    let sum = 0.001 * (noise.draw() - 0.5);
    for (let hertz = 220; hertz < 2000; hertz += 110) {
      sum += (10 / hertz) * Math.sin((2 * Math.PI * hertz * i) / sampleRate + hertz);
    }
    return sum;
  });
}

// The mean time of that packet of a burst which takes longest, in microseconds, in the quietest of some
// rounds: the first lost one, that which waits for the network, or with a lookahead one behind the burst.
// The mean, as some browsers' clocks have steps of 1 ms. What is far beyond the limit is not timed to
// the end.
function costOf(module, settings, signal, limit) {
  const { sampleRate, channels, packetSamples, lookahead = 0, model } = settings;
  const step = new Concealer({ ...settings, prepare: false, module });
  const lost = model ? 1 + Math.ceil((ONSET_S * sampleRate) / packetSamples) : 1;
  const sums = new Float64Array(lost + lookahead);
  const packet = new Float32Array(channels * packetSamples);
  let at = 0;
  const next = () => {
    for (let i = 0; i < packet.length; i += channels) {
      packet.fill(signal[at], i, i + channels);
      at = (at + 1) % signal.length;
    }
    return packet;
  };
  const receive = (seconds) => {
    for (let k = Math.ceil((seconds * sampleRate) / packetSamples); k > 0; k--) step.push(next());
  };
  receive(PAST_S);
  let least = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    sums.fill(0);
    for (let burst = 0; burst < BURSTS; burst++) {
      for (let k = 0; k < sums.length; k++) {
        const given = k < lost ? null : next();
        const began = performance.now();
        step.push(given);
        sums[k] += performance.now() - began;
      }
      if (1000 * Math.max(...sums) > 2 * BURSTS * limit) return Infinity;
      receive(BETWEEN_S);
    }
    least = Math.min(least, (1000 * Math.max(...sums)) / BURSTS);
  }
  return least;
}
