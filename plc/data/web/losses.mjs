// Which packets are lost: bursts of a two-state Markov chain (Gilbert's model).
//
// A received packet is followed by a lost one with probability share / (burst (1 - share)), a lost
// one by a received one with probability 1 / burst. `burst` is the mean number of packets lost in
// a row. Both may be changed at any time and hold from the next packet on.

export class Losses {
  constructor({ share = 0, burst = 1, seed = 1 } = {}) {
    this.state = seed | 0 || 1;
    this.lost = false;
    this.due = 0;
    this.set(share, burst);
  }

  set(share, burst) {
    this.onset = share < 1 ? Math.min(1, share / (burst * (1 - share))) : 1;
    this.recovery = share < 1 ? 1 / burst : 0;
  }

  // Loses this many packets in any case, from the next one on.
  force(packets) {
    this.due = packets;
  }

  // Whether the next packet is lost.
  next() {
    const drawn = this.draw();
    this.lost = this.lost ? drawn >= this.recovery : drawn < this.onset;
    if (this.due > 0) {
      this.due -= 1;
      return true;
    }
    return this.lost;
  }

  // A number from 0 up to 1 (xorshift32).
  draw() {
    let s = this.state;
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    this.state = s;
    return (s >>> 0) / 4294967296;
  }
}
