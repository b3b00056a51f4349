// One stream, played in several ways at the same time, so that a listener can switch between them.
//
// All lanes see the same losses and the same delay, that of a jitter buffer of so many packets: "plc"
// fills from both sides where the buffer holds what is behind, "past" does not look. The one that is
// heard is faded over to the next in 10 ms. Nothing is allocated after construction.

import { CONCEALED, Concealer } from "./plc.mjs";

export const LANES = ["silence", "repetition", "past", "plc", "original"];

const SWITCH_S = 0.01;

export class Lanes {
  constructor(module, settings, lane = "plc") {
    const { sampleRate, channels, packetSamples, lookahead = 0 } = settings;
    const samples = channels * packetSamples;
    this.channels = channels;
    this.step = new Concealer({ ...settings, module });
    this.past = lookahead ? new Concealer({ ...settings, module, lookahead: 0, prepare: false }) : null;
    this.began = 0; // when the last push of step began, in ms
    // Packets whose turn to play has not come: as many as the step waits for, and one.
    this.pending = Array.from({ length: lookahead + 1 }, () => new Float32Array(samples));
    this.pendingLost = new Uint8Array(lookahead + 1);
    this.turn = 0;
    this.last = new Float32Array(samples);
    this.silence = new Float32Array(samples);
    this.mixed = new Float32Array(samples);
    this.sources = LANES.map(() => this.silence);
    this.gains = new Float64Array(LANES.length);
    this.change = 1 / (SWITCH_S * sampleRate);
    this.chosen = 0;
    this.choose(lane);
    this.gains[this.chosen] = 1;
    // Of the packet that was played by the last push.
    this.original = this.silence;
    this.lost = false;
    this.concealed = false;
  }

  choose(lane) {
    this.chosen = LANES.indexOf(lane);
  }

  // Takes a packet, interleaved, and whether it is lost. Returns what to play, lookahead packets
  // later: a view that the next push overwrites.
  push(packet, lost) {
    const { pending, pendingLost, sources } = this;
    pending[this.turn].set(packet);
    pendingLost[this.turn] = lost ? 1 : 0;
    this.turn = (this.turn + 1) % pending.length;
    this.original = pending[this.turn];
    this.lost = pendingLost[this.turn] === 1;
    if (!this.lost) this.last.set(this.original);
    sources[0] = this.lost ? this.silence : this.original;
    sources[1] = this.last;
    const alone = this.past?.push(this.lost ? null : this.original);
    this.began = performance.now();
    sources[3] = this.step.push(lost ? null : packet);
    sources[2] = alone ?? sources[3];
    sources[4] = this.original;
    this.concealed = (this.step.flags & CONCEALED) !== 0;
    this.mix();
    return this.mixed;
  }

  mix() {
    const { channels, chosen, gains, mixed, sources } = this;
    if (gains[chosen] === 1) {
      mixed.set(sources[chosen]);
      return;
    }
    mixed.fill(0);
    for (let lane = 0; lane < sources.length; lane++) {
      const source = sources[lane];
      const slope = lane === chosen ? this.change : -this.change;
      let gain = gains[lane];
      if (gain === 0 && slope < 0) continue;
      for (let i = 0; i < mixed.length; i += channels) {
        gain = Math.min(1, Math.max(0, gain + slope));
        for (let c = i; c < i + channels; c++) mixed[c] += gain * source[c];
      }
      gains[lane] = gain;
    }
  }
}
