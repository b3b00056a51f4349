// node web_step.mjs STEP.mjs STEP.wasm JOB.json: runs streams through the compiled step.
//
// A job: {settings, trace (1 = lost), packets (file of float32), models (files), out (file, written),
// block (file, or none, written: its block at the end)}.

import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [glue, wasm, list] = process.argv.slice(2);
const { Concealer, joined } = await import(pathToFileURL(glue));
const module = new WebAssembly.Module(readFileSync(wasm));
const jobs = JSON.parse(readFileSync(list, "utf8"));
const answers = [];
for (const { settings, trace, packets, models = [], out, block } of jobs) {
  const model = models.length ? joined(models.map((each) => new Uint8Array(readFileSync(each)))) : null;
  const stream = new Concealer({ ...settings, module, model });
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
  if (block) writeFileSync(block, new Uint8Array(buffer, stream.block, stream.inAt - stream.block));
  // A memory that grew would have left the views without one.
  const grew = stream.out.buffer !== buffer || buffer.byteLength === 0;
  answers.push({ flags, grew, concealed: stream.concealedSamples, served: stream.served });
}
console.log(JSON.stringify(answers));
