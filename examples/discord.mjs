// Conceal lost Opus packets, as a bot of Discord gets them, in Node (opusscript, tested: 0.1.1).
//
//   plc web --export page && npm install ./page opusscript@0.1.1    # plc-engine, and Opus
//   cp examples/discord.mjs . && node discord.mjs speech.wav heard.wav 0.05
//
// speech.wav: 48 kHz, 16 bits, mono or stereo; it is coded, 5 % of the packets are lost, others come
// twice or after the next one.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { argv } from "node:process";
import { fileURLToPath } from "node:url";
import OpusScript from "opusscript";
import { Concealer, joined } from "plc-engine";

const sampleRate = 48000;
const packetSamples = 960; // 20 ms
const MOST_APART = 50; // packets: what is further off begins anew, once another one is near it

/** By how many packets a number is ahead of another: they begin anew after 65535. */
const ahead = (number, of) => ((number - of) << 16) >> 16;

/** Packets with numbers of 16 bits, in any order; packets of sound, one of each number. */
export class Receiver {
  /** `wait`: packets behind a hole after which it is lost. */
  constructor({ channels = 2, wait = 2, model = null } = {}) {
    this.opus = new OpusScript(sampleRate, channels);
    this.concealer = new Concealer({ sampleRate, channels, packetSamples, model, content: "speech" });
    this.wait = wait;
    this.samples = packetSamples * channels;
    this.waiting = new Map();
    this.due = this.stray = null;
    this.made = 0;
  }

  /** The sound of a packet; null where it is no packet of Opus of 20 ms. */
  decode(packet) {
    try {
      const bytes = this.opus.decode(packet);
      const samples = new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
      return samples.length === this.samples ? Float32Array.from(samples, (each) => each / 32768) : null;
    } catch {
      return null;
    }
  }

  /** The sound in place of a packet that did not come. */
  conceal() {
    this.made++;
    return this.concealer.push(null).slice();
  }

  /** Takes a packet; returns the packets of sound that are now to be played: none, or some. */
  receive(number, packet) {
    this.due ??= number;
    const steps = ahead(number, this.due);
    if (Math.abs(steps) > MOST_APART) {
      const apart = this.stray ? ahead(number, this.stray[0]) : 0;
      if (!apart || Math.abs(apart) > MOST_APART) {
        this.stray = [number, packet];
        return [];
      }
      const [first, second] = apart > 0 ? [this.stray, [number, packet]] : [[number, packet], this.stray];
      return this.end().concat(this.receive(...first), this.receive(...second));
    }
    this.stray = null;
    if (steps >= 0) this.waiting.set(number & 0xffff, packet); // else it is late, or came twice
    return this.play(this.wait);
  }

  /** What waits yet; then another stream may begin. */
  end() {
    const played = this.play(0);
    this.due = this.stray = null;
    return played;
  }

  play(most) {
    const played = [];
    while (this.waiting.size > most || this.waiting.has(this.due)) {
      const packet = this.waiting.get(this.due);
      this.waiting.delete(this.due);
      const samples = packet && this.decode(packet);
      played.push(samples ? this.concealer.push(samples).slice() : this.conceal());
      this.due = (this.due + 1) & 0xffff;
    }
    return played;
  }
}

function main(source, target, loss) {
  if (existsSync(target)) throw new RangeError(`${target} exists; name a new file`);
  const file = readFileSync(source);
  const channels = file.readUInt16LE(22);
  if (file.readUInt32LE(24) !== sampleRate || file.readUInt16LE(34) !== 16 || channels > 2)
    throw new RangeError(`${source}: give a WAV file of 48 kHz, 16 bits, one or two channels`);
  const network = fileURLToPath(import.meta.resolve("plc-engine/speech.plcm"));
  const receiver = new Receiver({ channels, model: joined([readFileSync(network)]) });
  const encoder = new OpusScript(sampleRate, channels, OpusScript.Application.VOIP);
  const arrivals = [];
  let seed = 1;
  const chance = () => (seed = (seed * 48271) % 0x7fffffff) / 0x7fffffff;
  const each = 2 * packetSamples * channels; // bytes
  for (let k = 0; 44 + (k + 1) * each <= file.length; k++) {
    const pcm = file.subarray(44 + k * each, 44 + (k + 1) * each);
    const number = (65500 + k) & 0xffff;
    const late = chance() < 0.1 ? 1.5 : 0; // after the next one
    const packet = encoder.encode(pcm, packetSamples);
    if (k > 0 && chance() < loss) continue;
    arrivals.push([k + late, number, packet]);
    if (chance() < 0.05) arrivals.push([k + late + 1, number, packet]); // twice
  }
  arrivals.sort(([a], [b]) => a - b);
  const played = arrivals.flatMap(([, number, packet]) => receiver.receive(number, packet));
  played.push(...receiver.end());
  const to16 = (x) => Math.max(-32768, Math.min(32767, Math.round(32768 * x)));
  const heard = Int16Array.from(played.flatMap((packet) => [...packet]), to16);
  const head = Buffer.from(file.subarray(0, 44));
  head.writeUInt32LE(36 + heard.byteLength, 4);
  head.writeUInt32LE(heard.byteLength, 40);
  writeFileSync(target, Buffer.concat([head, Buffer.from(heard.buffer)]));
  console.log(`${played.length} packets played, ${receiver.made} of them made up`);
}

if (argv[1] === fileURLToPath(import.meta.url)) main(argv[2], argv[3], Number(argv[4] ?? 0.05));
