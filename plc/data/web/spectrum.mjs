// Power spectra of a running signal: a Hann window, one spectrum each hop.

export class Spectra {
  // hopSamples apart, each of windowSamples (a power of two); onSpectrum(levels in dB, marked).
  constructor(windowSamples, hopSamples, onSpectrum) {
    const n = windowSamples;
    this.n = n;
    this.hop = hopSamples;
    this.onSpectrum = onSpectrum;
    this.ring = new Float32Array(n);
    this.marks = new Uint8Array(n);
    this.at = 0;
    this.wait = hopSamples;
    this.window = Float32Array.from({ length: n }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / n));
    this.cos = Float32Array.from({ length: n / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / n));
    this.sin = Float32Array.from({ length: n / 2 }, (_, i) => -Math.sin((2 * Math.PI * i) / n));
    this.re = new Float32Array(n);
    this.im = new Float32Array(n);
    this.db = new Float32Array(n / 2);
  }

  // Takes samples first to stop of an array of interleaved channels; mark says that they were lost.
  push(samples, first, stop, channels, mark) {
    for (let i = first; i < stop; i += channels) {
      let sum = 0;
      for (let c = 0; c < channels; c++) sum += samples[i + c];
      this.ring[this.at] = sum / channels;
      this.marks[this.at] = mark;
      this.at = (this.at + 1) % this.n;
      this.wait -= 1;
      if (this.wait === 0) {
        this.wait = this.hop;
        this.measure();
        this.onSpectrum(this.db, this.marks[(this.at + this.n / 2) % this.n] === 1);
      }
    }
  }

  measure() {
    const { n, re, im, db } = this;
    for (let i = 0; i < n; i++) re[i] = this.window[i] * this.ring[(this.at + i) % n];
    im.fill(0);
    transform(re, im, this.cos, this.sin);
    // A sine of full scale has 0 dB.
    const scale = (4 / n) ** 2;
    for (let k = 0; k < n / 2; k++) {
      db[k] = 10 * Math.log10(scale * (re[k] * re[k] + im[k] * im[k]) + 1e-12);
    }
  }
}

// The discrete Fourier transform in place; cos and sin hold exp(-2 pi i k / n) for k below n / 2.
function transform(re, im, cos, sin) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j |= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2;
    const stride = n / size;
    for (let begin = 0; begin < n; begin += size) {
      for (let k = 0; k < half; k++) {
        const a = begin + k;
        const b = a + half;
        const c = cos[k * stride];
        const s = sin[k * stride];
        const x = re[b] * c - im[b] * s;
        const y = re[b] * s + im[b] * c;
        re[b] = re[a] - x;
        im[b] = im[a] - y;
        re[a] += x;
        im[a] += y;
      }
    }
  }
}
