// The AudioWorklet: hands its input to the worker in packets, and plays what comes back. It does no
// more than copy, so that it takes the same time whatever is lost.
//
// Buffers go round: filled with input here, with what is to be played in the worker, and played here.
// Where none is back in time silence is played, and the delay grows by it.

// What is waited for before packets are played, and the longest delay.
const RESERVE_S = 0.04;
const LONGEST_S = 0.5;
const FEWEST = 4;

class Playing extends AudioWorkletProcessor {
  constructor({ processorOptions: { channels, packetSamples } }) {
    super();
    this.channels = channels;
    this.buffers = Math.max(FEWEST, Math.ceil((LONGEST_S * sampleRate) / packetSamples));
    this.spare = Array.from({ length: this.buffers }, () => new Float32Array(channels * packetSamples));
    this.filling = this.spare.pop();
    this.filled = 0;
    this.queue = [];
    this.playing = null;
    this.played = 0;
    // Whether nothing is played, and the packets that are waited for then.
    this.waits = true;
    this.reserve = Math.ceil((RESERVE_S * sampleRate) / packetSamples);
    this.worker = null;
    this.dropouts = 0;
    this.ended = false;
    this.port.onmessage = ({ data: { worker, end } }) => {
      if (worker) {
        this.worker = worker;
        worker.onmessage = ({ data }) => this.queue.push(data);
      }
      if (end) this.ended = true;
    };
  }

  process([input], [output]) {
    this.play(output);
    this.take(input, output[0].length);
    return !this.ended;
  }

  take(input, count) {
    const { channels } = this;
    for (let i = 0; i < count; i++) {
      const at = this.filled * channels;
      for (let c = 0; c < channels; c++) this.filling[at + c] = c < input.length ? input[c][i] : 0;
      this.filled += 1;
      if (at + channels === this.filling.length) this.give();
    }
  }

  // Hands over a packet. Where the worker has all others, it is left out.
  give() {
    this.filled = 0;
    if (!this.worker || !this.spare.length) return;
    this.worker.postMessage(this.filling, [this.filling.buffer]);
    this.filling = this.spare.pop();
  }

  // Plays what is there; the rest of the output is silence.
  play(output) {
    const { channels } = this;
    for (let i = 0; i < output[0].length; i++) {
      if (this.playing === null && !this.next()) return;
      for (let c = 0; c < channels; c++) output[c][i] = this.playing[this.played + c];
      this.played += channels;
      if (this.played === this.playing.length) {
        this.spare.push(this.playing);
        this.playing = null;
      }
    }
  }

  // Takes the packet that is due; returns whether it is there.
  next() {
    if (this.queue.length < (this.waits ? this.reserve : 1)) {
      if (!this.waits) this.starve();
      return false;
    }
    if (this.waits) this.tell();
    this.waits = false;
    this.playing = this.queue.shift();
    this.played = 0;
    return true;
  }

  starve() {
    this.waits = true;
    this.dropouts += 1;
    this.tell();
  }

  // Tells the page the delay and the dropouts.
  tell() {
    const packets = this.buffers - this.spare.length - 1;
    const delayed = packets * this.filling.length + this.filled * this.channels;
    this.port.postMessage({ delayS: delayed / (this.channels * sampleRate), dropouts: this.dropouts });
  }
}

registerProcessor("plc", Playing);
