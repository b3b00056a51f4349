// Conceal a raw float32 stream with plc.wasm: wasm_probe.mjs MODULE IN TRACE OUT RATE CHANNELS PACKET
import fs from 'node:fs'

const [path, source, trace, target, ...numbers] = process.argv.slice(2)
const [rate, channels, packet] = numbers.map(Number)
const env = {}
for (const name of Object.getOwnPropertyNames(Math)) env[name] = Math[name]
env.exp2 = (x) => Math.pow(2, x)
const single = Object.entries(env).filter(([, each]) => typeof each === 'function')
for (const [name, each] of single) env[name + 'f'] = (x, y) => Math.fround(each(x, y))
const module = new WebAssembly.Module(fs.readFileSync(path))
const { exports } = new WebAssembly.Instance(module, { env })
const begin = (exports.__heap_base.value + 63) & ~63
exports.memory.grow(256)
const memory = exports.memory.buffer
const settings = new BigInt64Array(memory, begin, 16)
settings.set([rate, channels, packet, 0, 0, 0, 0].map(BigInt))
const size = Number(exports.plck_size(begin))
const block = begin + 128
const at = block + size
const inbox = new Float32Array(memory, at, packet * channels)
exports.plck_open(block, begin)
const data = fs.readFileSync(source)
const given = new Float32Array(data.buffer, data.byteOffset, data.length / 4)
const lost = fs.readFileSync(trace, 'utf8')
const made = new Float32Array(given.length)
const times = []
for (let k = 0; k * inbox.length < given.length; k++) {
  inbox.set(given.subarray(k * inbox.length, (k + 1) * inbox.length))
  const began = performance.now()
  exports.plck_push(block, at, BigInt(lost[k] === '0'), 0, 0n, at, 0n)
  const spent = performance.now() - began
  if (k > 30) times.push([lost[k], spent])
  made.set(inbox, k * inbox.length)
}
fs.writeFileSync(target, made)
const median = (kind) => {
  const all = times.filter(([each]) => each === kind).map(([, spent]) => spent).sort((a, b) => a - b)
  return all[all.length >> 1]
}
console.log(JSON.stringify({ received_ms: median('0'), concealed_ms: median('1') }))
