// The worker of PlcNode: takes pieces from the page, and gives the audio thread what it asks for.

import { PlayoutBuffer } from "./plc.mjs";

const TELL_MS = 250;
// A buffer that is cleared fades out what it was about to give; the audio thread fades out what it holds.
const FADED_S = 0.01;

let buffer = null;
let audio = null;
let delayMs = 0; // as was told last
let waitMs = null; // the longest that a piece waits of those that came since
let soon = null;

// Takes a piece, and notes how long its first sample waits here.
function put(piece, timestampUs) {
  const more = buffer.put(piece, timestampUs);
  const behind = (1000 * (buffer.concealer.delay - more)) / buffer.rate;
  if (more) waitMs = Math.max(waitMs, buffer.bufferedMs + behind);
}

function tell(aheadMs) {
  if (waitMs !== null) delayMs = waitMs + aheadMs;
  waitMs = null;
  postMessage({ stats: { ...buffer.stats, delayMs }, bufferedMs: buffer.bufferedMs });
}

// What waits is dropped, here and in the audio thread; the next piece is played at once.
function clear() {
  waitMs = null;
  buffer.clear();
  buffer.take(buffer.block + Math.round(FADED_S * buffer.rate));
  audio.postMessage(null);
}

// Gives so many samples; null: the audio thread stood still, and begins anew.
function give(count) {
  if (count === null) {
    waitMs = null;
    buffer.reset();
    return;
  }
  const { samples } = buffer.take(count);
  audio.postMessage(samples, [samples.buffer]);
  soon ??= setTimeout(() => {
    soon = null;
    buffer.concealer.prepare();
  });
}

onmessage = ({ data: { settings, port, ahead, piece, timestampUs, call } }) => {
  if (piece) {
    put(piece, timestampUs);
  } else if (call === "end") {
    buffer.end();
  } else if (call === "clear") {
    clear();
  }
  if (!settings) return;
  try {
    buffer = new PlayoutBuffer({ prepare: true, ...settings });
  } catch ({ message }) {
    postMessage({ refused: message });
    return;
  }
  audio = port;
  give(ahead);
  audio.onmessage = ({ data }) => give(data);
  tell(0);
  setInterval(tell, TELL_MS, (1000 * ahead) / buffer.rate);
};
