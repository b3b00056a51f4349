// What the page counts: the times of the step, and levels.

const KEPT = 4000;

// The newest times of one kind of packet, in microseconds.
export class Times {
  constructor() {
    this.times = new Float64Array(KEPT);
    this.clear();
  }

  clear() {
    this.count = 0;
  }

  add(time) {
    this.times[this.count % KEPT] = time;
    this.count += 1;
  }

  // p50, p99 and the largest, or null where there is none.
  summary() {
    const kept = Math.min(this.count, KEPT);
    if (!kept) return null;
    const sorted = this.times.slice(0, kept).sort();
    const at = (share) => sorted[Math.min(kept - 1, Math.ceil(share * kept) - 1)];
    return { p50: at(0.5), p99: at(0.99), max: sorted[kept - 1] };
  }
}

// The level of what was played lately: the root of the mean square, in dB below full scale.
export class Level {
  constructor() {
    this.power = 0;
  }

  push(samples, first, stop) {
    let sum = 0;
    for (let i = first; i < stop; i++) sum += samples[i] * samples[i];
    const power = sum / Math.max(1, stop - first);
    // It follows a rise within some packets, and falls within a quarter of a second.
    this.power += (power > this.power ? 0.5 : 0.1) * (power - this.power);
  }

  get db() {
    return Math.max(-90, 10 * Math.log10(this.power + 1e-12));
  }
}

// The smallest step of the clock, in microseconds. Browsers round it: 5 to 1000.
export function clockStep() {
  let least = Infinity;
  let before = performance.now();
  for (let steps = 0; steps < 20;) {
    const now = performance.now();
    if (now > before) {
      least = Math.min(least, now - before);
      before = now;
      steps += 1;
    }
  }
  return 1000 * least;
}
