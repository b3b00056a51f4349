// The network for speech: a file beside the page, which is fetched when the reader asks for it.

import { Refusal } from "./sources.mjs";
import { isModel } from "./step.mjs";

const FILE = "speech.plcm";

// Whether the page can fetch at all: browsers let one from a disk read no file beside it.
export const canFetch = () => location.protocol !== "file:";

// The bytes of its flat file.
export async function fetchNetwork() {
  const answer = await fetch(FILE).catch(() => null);
  const bytes = answer?.ok ? new Uint8Array(await answer.arrayBuffer().catch(() => [])) : null;
  if (bytes && isModel(bytes)) return bytes;
  throw new Refusal(`The network cannot be fetched. Is ${FILE} beside the page, whole, and does its ` +
    "server still run?");
}
