// Play a schedule of pieces: pieces_probe.mjs WEB FOLDER, which has jobs.json and in.f32
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [web, folder] = process.argv.slice(2)
const { PlayoutBuffer } = await import(pathToFileURL(join(web, 'plc.mjs')))
const module = new WebAssembly.Module(readFileSync(join(web, 'plc.wasm')))
const { settings, take, ticks, pieces, bytes } = JSON.parse(readFileSync(join(folder, 'jobs.json'), 'utf8'))
const data = readFileSync(join(folder, 'in.f32'))
const signal = new Float32Array(data.buffer, data.byteOffset, data.length / 4)
const buffer = new PlayoutBuffer({ ...settings, module })
const heard = []
const marks = []
for (let tick = 0; tick < ticks; tick++) {
  while (pieces.length && pieces[0].tick <= tick) {
    const { begin, stop, at } = pieces.shift()
    const piece = bytes ? new Uint8Array(signal.buffer).slice(begin, stop) : signal.subarray(begin, stop)
    buffer.put(bytes === 'whole' ? piece.buffer : piece, at === null ? null : (at * 1e6) / settings.sampleRate)
  }
  if (bytes) {
    const given = buffer.takeBytes(take)
    heard.push(...given.bytes)
    marks.push(...given.madeUp)
    continue
  }
  const { samples, madeUp } = buffer.take(take)
  heard.push(...samples)
  marks.push(...madeUp)
}
writeFileSync(join(folder, 'out.f32'), bytes ? new Uint8Array(heard) : new Float32Array(heard))
writeFileSync(join(folder, 'marks.u8'), new Uint8Array(marks))
console.log(JSON.stringify(buffer.stats))
