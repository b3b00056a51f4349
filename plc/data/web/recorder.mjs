// What was heard, to save it as a WAV file: the newest minutes, in 16 bits.

const LONGEST_S = 300;

export class Recorder {
  constructor(sampleRate, channels) {
    this.sampleRate = sampleRate;
    this.channels = channels;
    this.parts = [];
    this.filled = 0;
  }

  // Takes the samples from first up to stop, interleaved.
  push(samples, first, stop) {
    const { channels, parts, sampleRate } = this;
    for (let i = first; i < stop; i++) {
      if (!parts.length || this.filled === parts.at(-1).length) {
        parts.push(new Int16Array(sampleRate * channels));
        this.filled = 0;
        if (parts.length > LONGEST_S) parts.shift();
      }
      parts.at(-1)[this.filled] = Math.round(32767 * Math.min(1, Math.max(-1, samples[i])));
      this.filled += 1;
    }
  }

  get seconds() {
    const { channels, filled, parts, sampleRate } = this;
    return parts.length ? parts.length - 1 + filled / (channels * sampleRate) : 0;
  }

  // The bytes of a WAV file.
  wav() {
    const { channels, filled, parts, sampleRate } = this;
    const samples = parts.map((part, k) => part.subarray(0, k < parts.length - 1 ? part.length : filled));
    const bytes = 2 * samples.reduce((sum, part) => sum + part.length, 0);
    const head = new DataView(new ArrayBuffer(44));
    const letters = (at, text) => [...text].forEach((each, i) => head.setUint8(at + i, each.charCodeAt(0)));
    letters(0, "RIFF");
    head.setUint32(4, 36 + bytes, true);
    letters(8, "WAVEfmt ");
    head.setUint32(16, 16, true);
    head.setUint16(20, 1, true); // integers
    head.setUint16(22, channels, true);
    head.setUint32(24, sampleRate, true);
    head.setUint32(28, 2 * channels * sampleRate, true);
    head.setUint16(32, 2 * channels, true);
    head.setUint16(34, 16, true);
    letters(36, "data");
    head.setUint32(40, bytes, true);
    return new Blob([head, ...samples], { type: "audio/wav" });
  }
}
