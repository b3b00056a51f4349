// node web_step.mjs STEP.mjs STEP.wasm JOB.json: runs streams through the compiled step.
//
// A job: {settings, trace (1 = lost), packets (file of float32), out (file, written)}.

import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [glue, wasm, list] = process.argv.slice(2);
const { open } = await import(pathToFileURL(glue));
const module = new WebAssembly.Module(readFileSync(wasm));
const answers = [];
for (const { settings, trace, packets, out } of JSON.parse(readFileSync(list, "utf8"))) {
  const stream = open(module, settings);
  const samples = settings.channels * settings.packetSamples;
  const given = new Float32Array(new Uint8Array(readFileSync(packets)).buffer);
  const heard = new Float32Array(given.length);
  const { buffer } = stream.out;
  const flags = trace.map((lost, k) => {
    const packet = lost ? null : given.subarray(k * samples, (k + 1) * samples);
    heard.set(stream.push(packet), k * samples);
    return stream.flags;
  });
  writeFileSync(out, new Uint8Array(heard.buffer));
  // A memory that grew would have left the views without one.
  answers.push({ flags, grew: stream.out.buffer !== buffer || buffer.byteLength === 0 });
}
console.log(JSON.stringify(answers));
