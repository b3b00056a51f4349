// The audio thread's side of PlcNode: asks the worker for samples ahead of their time, and copies.
//
// It asks as time goes, whatever has come. Where something comes too late, silence was played for it, and
// it is dropped: the delay stays as it was.

// What is asked for at once.
const BLOCK_S = 0.01;
// Where it is not called for so long, and what is held ahead, it stood still: its context was suspended, or
// it was not connected.
const STILL_S = 0.25;
const FADE_S = 0.005;

class Playout extends AudioWorkletProcessor {
  constructor({ processorOptions: { ahead, channels } }) {
    super();
    this.channels = channels;
    this.queue = [];
    this.played = 0; // of the queue's first, in numbers
    this.queued = 0; // samples of each channel in the queue
    this.asked = ahead; // those that are to come: the worker begins with so many
    this.late = 0; // the first of these, for which silence was played
    this.starved = 0;
    this.waits = true; // for the first
    this.ended = false;
    this.block = Math.round(BLOCK_S * sampleRate);
    this.ahead = ahead; // what is to be there beyond what is played
    this.stillMs = 1000 * (STILL_S + ahead / sampleRate);
    this.called = 0;
    this.port.onmessage = ({ data: { port, since, end } }) => {
      if (end) this.ended = true;
      if (!port) return;
      this.worker = port;
      this.called = since; // the context may be suspended since then
      port.onmessage = ({ data }) => this.take(data);
    };
  }

  process(_, [output]) {
    if (this.ended) return false;
    if (this.worker) this.play(output, output[0].length);
    return true;
  }

  play(output, count) {
    const now = Date.now();
    if (now - this.called > this.stillMs) this.beginAnew();
    this.called = now;
    while (this.queued + this.asked - this.late < this.ahead + count) {
      this.worker.postMessage(this.block);
      this.asked += this.block;
    }
    const copied = this.copy(output, count);
    this.queued -= copied;
    this.late += count - copied;
    if (copied === count) {
      this.waits = false;
    } else if (!this.waits) {
      this.waits = true;
      this.port.postMessage({ starved: ++this.starved });
    }
  }

  // Plays what is there; the rest of the output is silence. Returns the samples played.
  copy(output, count) {
    const { channels } = this;
    for (let i = 0; i < count; i++) {
      if (!this.queue.length) return i;
      const [samples] = this.queue;
      for (let c = 0; c < channels; c++) output[c][i] = samples[this.played + c];
      this.played += channels;
      if (this.played >= samples.length) {
        this.queue.shift();
        this.played = 0;
      }
    }
    return count;
  }

  // Takes samples; null: those before are dropped, faded out.
  take(samples) {
    const { channels } = this;
    if (samples === null) {
      this.keep(Math.min(this.queued, Math.round(FADE_S * sampleRate)));
      return;
    }
    const count = samples.length / channels;
    const late = Math.min(this.late, count);
    this.asked -= count;
    this.late -= late;
    if (late === count) return;
    this.queue.push(samples.subarray(late * channels));
    this.queued += count - late;
  }

  // Keeps so many samples of the queue, faded out.
  keep(count) {
    const { channels } = this;
    const rows = Array.from({ length: channels }, () => new Float32Array(count));
    this.copy(rows, count);
    const faded = Float32Array.from({ length: count * channels }, (_, i) => {
      const at = Math.floor(i / channels);
      return rows[i % channels][at] * (1 - (at + 1) / count);
    });
    this.queue = count ? [faded] : [];
    this.played = 0;
    this.queued = count;
  }

  // Drops all that is there or asked for, and lets the worker begin anew.
  beginAnew() {
    this.keep(0);
    this.late = this.asked;
    this.worker.postMessage(null);
  }
}

registerProcessor("plc-playout", Playout);
