// Conceal from Node, through the Unix socket of plc serve.
//
//   plc serve --socket /tmp/plc.sock &
//   node examples/sidecar.mjs /tmp/plc.sock clean.wav heard.wav 0.1
//
// clean.wav has samples of 16 bits; of its packets the given share is lost. The frames are those of
// docs/embedding.md.

import { readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";

const HELLO = 1, PUSH = 2, ASK = 3, END = 4, READY = 129, AUDIO = 130, REPORT = 131, BYE = 132;
const ERROR = 255;
const LOST = 1, INT16 = 2, HEADER = 12, PACKET_MS = 10;

/** A stream in the server's process: one answer to each frame, in order. */
class Stream {
  #socket;
  #received = Buffer.alloc(0);
  #waiting = [];
  #sequence = 0;

  static async open(path, { sampleRate, channels, packetSamples }) {
    const stream = new Stream();
    stream.#socket = connect(path);
    stream.#socket.on("data", (data) => stream.#take(data));
    stream.#socket.on("error", (error) => stream.#fail(error));
    stream.#socket.on("close", () => stream.#fail(new Error("the server hung up")));
    const hello = Buffer.alloc(36);
    hello.write("PLC1", 0, "latin1");
    hello.writeUInt32LE(sampleRate, 4);
    hello.writeUInt32LE(packetSamples, 8);
    hello.writeUInt8(channels, 18);
    hello.writeUInt8(INT16, 19);
    hello.writeDoubleLE(NaN, 20); // a quarter of the packet; method and model: auto
    await stream.#ask(HELLO, READY, hello);
    return stream;
  }

  /** Send a packet, null where one was lost; return the one to play. */
  push(packet) {
    return this.#ask(PUSH, AUDIO, packet ?? Buffer.alloc(0), packet === null ? LOST : 0);
  }

  async counters() {
    return JSON.parse((await this.#ask(ASK, REPORT)).toString());
  }

  async end() {
    await this.#ask(END, BYE);
    this.#socket.end();
  }

  #ask(kind, expected, payload = Buffer.alloc(0), flags = 0) {
    const header = Buffer.alloc(HEADER);
    header.writeUInt32LE(payload.length, 0);
    header.writeUInt8(kind, 4);
    header.writeUInt8(flags, 5);
    header.writeUInt32LE(this.#sequence++, 8);
    this.#socket.write(Buffer.concat([header, payload]));
    return new Promise((resolve, reject) => this.#waiting.push({ expected, resolve, reject }));
  }

  #take(data) {
    this.#received = Buffer.concat([this.#received, data]);
    while (this.#received.length >= HEADER) {
      const end = HEADER + this.#received.readUInt32LE(0);
      if (this.#received.length < end) return;
      const kind = this.#received.readUInt8(4);
      const payload = this.#received.subarray(HEADER, end);
      this.#received = this.#received.subarray(end);
      const { expected, resolve, reject } = this.#waiting.shift();
      if (kind === expected) resolve(payload);
      else reject(new Error(kind === ERROR ? payload.subarray(2).toString() : `answer ${kind}`));
    }
  }

  #fail(error) {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}

/** Where the samples of a WAV file are, and its format. */
function layout(wav) {
  let found = {};
  for (let at = 12; at + 8 <= wav.length; ) {
    const size = wav.readUInt32LE(at + 4);
    const name = wav.toString("latin1", at, at + 4);
    if (name === "fmt ") {
      if (wav.readUInt16LE(at + 22) !== 16) throw new Error("give a WAV file of 16 bits");
      found = { channels: wav.readUInt16LE(at + 10), sampleRate: wav.readUInt32LE(at + 12) };
    }
    if (name === "data") return { ...found, begin: at + 8, end: Math.min(at + 8 + size, wav.length) };
    at += 8 + size + (size % 2);
  }
  throw new Error("this is no WAV file");
}

const [path, source, target, loss = "0.1"] = process.argv.slice(2);
if (!target) throw new Error("usage: node sidecar.mjs SOCKET IN.wav OUT.wav [LOSS]");
const wav = readFileSync(source);
const { sampleRate, channels, begin, end } = layout(wav);
const packetSamples = (sampleRate * PACKET_MS) / 1000;
const size = 2 * channels * packetSamples;

const stream = await Stream.open(path, { sampleRate, channels, packetSamples });
for (let at = begin; at + size <= end; at += size) {
  const lost = Math.random() < Number(loss);
  (await stream.push(lost ? null : wav.subarray(at, at + size))).copy(wav, at);
}
const { packets, lost_packets, concealed_samples } = await stream.counters();
await stream.end();
writeFileSync(target, wav);
console.log(JSON.stringify({ packets, lost_packets, concealed_samples }));
