// The worker of PlcNode: takes pieces from the page, and gives the audio thread what it asks for.

import { PlayoutBuffer } from "./plc.mjs";

const TELL_MS = 250;

let buffer = null;

onmessage = ({ data: { settings, port, piece, timestampUs, call } }) => {
  if (call) {
    buffer?.[call]();
    return;
  }
  if (piece) {
    buffer?.put(piece, timestampUs);
    return;
  }
  try {
    buffer = new PlayoutBuffer({ prepare: true, ...settings });
  } catch ({ message }) {
    postMessage({ refused: message });
    return;
  }
  port.onmessage = ({ data: count }) => {
    const { samples } = buffer.take(count);
    port.postMessage(samples, [samples.buffer]);
    setTimeout(() => buffer.concealer.prepare());
  };
  const tell = () => postMessage({ stats: { ...buffer.stats }, bufferedMs: buffer.bufferedMs });
  tell();
  setInterval(tell, TELL_MS);
};
