// The time inside the step. Browsers give the audio thread no clock, so the page runs the same step
// once more on the packets that the audio thread reports, and times that.

import { Times } from "./figures.mjs";
import { open } from "./step.mjs";

export const RUNGS = 12;
// As plc.Concealer: a lost packet may take a quarter of its duration, and a rung is chosen that
// takes 72 % of that.
export const BUDGET_SHARE = 0.25;
const CALM_SHARE = 0.72;
const WARM_MS = 150;
const PAST_S = 1.5;
const BETWEEN_S = 0.06;
const PLACES = 3;
const BURSTS = 6;

export class Mirror {
  constructor(module, settings) {
    this.step = open(module, settings);
    this.received = new Times();
    this.lost = new Times();
  }

  // Takes a packet, interleaved, and whether it was lost.
  push(packet, lost) {
    const began = performance.now();
    this.step.push(lost ? null : packet);
    (lost ? this.lost : this.received).add(1000 * (performance.now() - began));
  }
}

// The best rung of the ladder that is fast enough here for a sound like this signal.
export async function affordableRung(module, settings, signal) {
  const limit = CALM_SHARE * BUDGET_SHARE * 1e6 * (settings.packetSamples / settings.sampleRate);
  const end = performance.now() + WARM_MS;
  while (performance.now() < end) costOf(module, { ...settings, rung: 0 }, signal, 0);
  for (let rung = 0; rung < RUNGS - 1; rung++) {
    await new Promise((resume) => setTimeout(resume));
    if (costOf(module, { ...settings, rung }, signal, limit) <= limit) return rung;
  }
  return RUNGS - 1;
}

// The mean time of the first lost packet of a burst, in microseconds: at the dearest of some places
// of the signal, in the quieter of two halves. The mean, as some browsers' clocks have steps of 1 ms.
// Beyond the limit it ends early.
function costOf(module, settings, signal, limit) {
  const { sampleRate, channels, packetSamples } = settings;
  const step = open(module, settings);
  const packet = new Float32Array(channels * packetSamples);
  let at = 0;
  const receive = (seconds) => {
    for (let k = Math.ceil((seconds * sampleRate) / packetSamples); k > 0; k--) {
      for (let i = 0; i < packet.length; i += channels) {
        packet.fill(signal[at], i, i + channels);
        at = (at + 1) % signal.length;
      }
      step.push(packet);
    }
  };
  const mean = () => {
    let sum = 0;
    for (let burst = 0; burst < BURSTS; burst++) {
      const began = performance.now();
      step.push(null);
      sum += performance.now() - began;
      receive(BETWEEN_S);
    }
    return (1000 * sum) / BURSTS;
  };
  let most = 0;
  for (let place = 0; place < PLACES && most <= limit; place++) {
    at = Math.floor((place * signal.length) / PLACES);
    receive(PAST_S);
    most = Math.max(most, Math.min(mean(), mean()));
  }
  return most;
}
