// Conceal FOLDER/in.f32 with the losses of FOLDER/lost: model_probe.mjs WEB MODEL FOLDER LOOKAHEAD
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [web, path, folder, lookahead] = process.argv.slice(2)
const { Concealer } = await import(pathToFileURL(join(web, 'plc.mjs')))
const concealer = new Concealer({
  sampleRate: 16000,
  packetSamples: 320,
  lookahead: Number(lookahead),
  content: 'speech',
  model: new Uint8Array(readFileSync(path)),
  module: new WebAssembly.Module(readFileSync(join(web, 'plc.wasm'))),
})
if (!concealer.networks.length) throw new Error('no network serves the stream')
const data = readFileSync(join(folder, 'in.f32'))
const given = new Float32Array(data.buffer, data.byteOffset, data.length / 4)
const lost = readFileSync(join(folder, 'lost'), 'utf8').trim()
const made = []
for (let k = 0; k < lost.length; k++) {
  const packet = lost[k] === '1' ? null : given.subarray(320 * k, 320 * (k + 1))
  made.push(...concealer.push(packet))
}
made.push(...concealer.flush())
writeFileSync(join(folder, 'out.f32'), new Float32Array(made.slice(concealer.delay)))
