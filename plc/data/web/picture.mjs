// A running spectrogram on a canvas. New columns come in at the right; where the reader prefers
// little motion the picture stands still, and a line runs through it.

import { Spectra } from "./spectrum.mjs";

const HOP_S = 0.005;
const WINDOW_S = 0.021;
const TOP_HZ = 12000;
const FLOOR_DB = -92;
const CEILING_DB = -14;
const STRIP = 7;
const LOST = [255, 72, 72];
// From dark to light, by level.
const STOPS = [
  [7, 9, 22], [22, 26, 72], [34, 58, 122], [30, 98, 140], [28, 138, 140], [62, 178, 120],
  [140, 210, 90], [220, 232, 110], [255, 252, 220],
];
const COLOURS = Array.from({ length: 256 }, (_, i) => {
  const place = (i / 255) * (STOPS.length - 1);
  const below = Math.min(STOPS.length - 2, Math.floor(place));
  return STOPS[below].map((value, c) => value + (place - below) * (STOPS[below + 1][c] - value));
});

export class Picture {
  constructor(canvas, { tinted = false, still = false } = {}) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.tinted = tinted;
    this.still = still;
    this.x = 0;
    this.sampleRate = 0;
    new ResizeObserver(() => this.fit()).observe(canvas);
    this.fit();
  }

  // The time that the picture shows.
  get seconds() {
    return (this.canvas.width / this.scale) * HOP_S;
  }

  fit() {
    this.scale = Math.max(1, Math.round(window.devicePixelRatio || 1));
    const width = Math.max(1, Math.round(this.canvas.clientWidth)) * this.scale;
    const height = Math.max(1, Math.round(this.canvas.clientHeight)) * this.scale;
    if (this.canvas.width === width && this.canvas.height === height) return;
    this.canvas.width = width;
    this.canvas.height = height;
    this.clear();
  }

  clear() {
    this.x = 0;
    this.context.fillStyle = `rgb(${STOPS[0].join()})`;
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    this.column = this.context.createImageData(this.scale, this.canvas.height);
    this.rows = null;
  }

  open(sampleRate) {
    if (sampleRate === this.sampleRate) return;
    this.sampleRate = sampleRate;
    this.clear();
    const n = 2 ** Math.round(Math.log2(WINDOW_S * sampleRate));
    this.spectra = new Spectra(n, Math.round(HOP_S * sampleRate), (db, mark) => this.draw(db, mark));
  }

  push(samples, first, stop, channels, mark) {
    this.spectra.push(samples, first, stop, channels, mark ? 1 : 0);
  }

  // The spectral lines of each row of pixels, from the top.
  lines() {
    const height = this.canvas.height - STRIP * this.scale;
    const perHz = this.spectra.n / this.sampleRate;
    const top = Math.min(TOP_HZ, this.sampleRate / 2) * perHz;
    return Array.from({ length: height }, (_, row) => {
      const stop = Math.ceil((top * (height - row)) / height);
      const first = Math.min(stop - 1, Math.floor((top * (height - row - 1)) / height));
      return [first, Math.min(stop, this.spectra.n / 2)];
    });
  }

  draw(db, mark) {
    const { canvas, column, context, scale } = this;
    this.rows ??= this.lines();
    const { data } = column;
    for (let row = 0; row < canvas.height; row++) {
      let colour = mark ? LOST : STOPS[0];
      if (row < this.rows.length) {
        let level = FLOOR_DB;
        for (let k = this.rows[row][0]; k < this.rows[row][1]; k++) level = Math.max(level, db[k]);
        const share = (level - FLOOR_DB) / (CEILING_DB - FLOOR_DB);
        colour = COLOURS[Math.round(255 * Math.min(1, share))];
        if (mark && this.tinted) colour = colour.map((value, c) => 0.55 * value + 0.45 * LOST[c]);
      }
      for (let x = 0; x < scale; x++) {
        const at = 4 * (row * scale + x);
        data[at] = colour[0];
        data[at + 1] = colour[1];
        data[at + 2] = colour[2];
        data[at + 3] = 255;
      }
    }
    if (this.still) {
      context.putImageData(column, this.x, 0);
      this.x = (this.x + scale) % (canvas.width - (canvas.width % scale));
      context.fillStyle = "#fff";
      context.fillRect(this.x, 0, scale, canvas.height);
    } else {
      context.drawImage(canvas, -scale, 0);
      context.putImageData(column, canvas.width - scale, 0);
    }
  }
}
