// The audio thread's side of PlcNode: asks the worker for samples ahead of their time, and copies.

// What is asked for at once, and held ahead.
const BLOCK_S = 0.01;
const AHEAD_S = 0.03;

class Playout extends AudioWorkletProcessor {
  constructor() {
    super();
    this.queue = [];
    this.played = 0; // of the queue's first, in numbers
    this.held = 0; // samples of each channel that are there or asked for
    this.starved = 0;
    this.waits = true; // for the first
    this.ended = false;
    this.block = Math.round(BLOCK_S * sampleRate);
    this.ahead = Math.round(AHEAD_S * sampleRate);
    this.port.onmessage = ({ data: { port, end } }) => {
      if (end) this.ended = true;
      if (!port) return;
      this.worker = port;
      port.onmessage = ({ data }) => this.queue.push(data);
    };
  }

  process(_, [output]) {
    if (this.ended) return false;
    const count = output[0].length;
    for (; this.worker && this.held < this.ahead + count; this.held += this.block) {
      this.worker.postMessage(this.block);
    }
    const copied = this.copy(output, count);
    this.held -= copied;
    if (copied === count) {
      this.waits = false;
    } else if (!this.waits) {
      this.waits = true;
      this.port.postMessage({ starved: ++this.starved });
    }
    return true;
  }

  // Plays what is there; the rest of the output is silence. Returns the samples played.
  copy(output, count) {
    const channels = output.length;
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
}

registerProcessor("plc-playout", Playout);
