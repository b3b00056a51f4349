// An AudioWorkletNode that plays sound which comes in pieces with a time stamp, and conceals what is
// late or lost. PlayoutBuffer of plc.mjs does so in a worker; the audio thread only copies.
//
//   import { PlcNode } from "./plc-node.mjs";
//   const context = new AudioContext({ sampleRate: 24000 });   // that of the pieces
//   const node = await PlcNode.create(context, { channels: 1, delayMs: 60 });
//   node.connect(context.destination);
//   socket.binaryType = "arraybuffer";
//   socket.onmessage = ({ data }) => node.put(new Int16Array(data));    // pieces that follow each other
//   stamps = [], decoder = new AudioDecoder({ output: (data) => { node.put(data, stamps.shift()); data.close(); }, … });
//   stamps.push(chunk.timestamp), decoder.decode(chunk);  // those of its output pass over lost packets
//
// Files beside it: plc.mjs, plc-worker.mjs, plc-processor.mjs and the networks. Each is named in such a
// way that bundlers find it.

import { fetchModel, positionOf, rawBytes, samplesOf } from "./plc.mjs";

// What the audio thread holds ahead: what the device takes at once and some more, or this at least.
const MORE_S = 0.02;
const AHEAD_S = 0.03;

// There is none outside of pages, and in those that are neither of https nor of this machine.
const NODE = globalThis.AudioWorkletNode ?? class {};

export class PlcNode extends NODE {
  // Settings: those of PlayoutBuffer but sampleRate, which is the context's; uses: the networks to
  // fetch ("speech", "music", "bridges" for holes; none: prediction alone); folder: where the
  // files are, if not where bundlers put them. Throws RangeError and Error as PlayoutBuffer and
  // fetchModel do, and RangeError if another sample rate is given.
  static async create(context, { uses = ["speech", "bridges"], folder = null, channels = 1, ...others } = {}) {
    if (!context?.audioWorklet) {
      throw new Error("PlcNode needs an AudioContext of a page of https or of this machine; elsewhere " +
        "PlayoutBuffer of plc.mjs gives the samples");
    }
    const { sampleRate } = context;
    check(sampleRate, channels, others);
    const [model] = await Promise.all([
      fetchModel(sampleRate, uses, folder),
      context.audioWorklet.addModule(
        folder === null ? new URL("./plc-processor.mjs", import.meta.url) : `${folder}plc-processor.mjs`,
      ),
    ]);
    const settings = { ...others, channels, sampleRate, model };
    const ahead = Math.round(sampleRate * Math.max(AHEAD_S, (context.baseLatency ?? 0) + MORE_S));
    const node = new PlcNode(context, "plc-playout", {
      numberOfInputs: 0, outputChannelCount: [channels], processorOptions: { ahead, channels },
    });
    node.begin(
      folder === null
        ? new Worker(new URL("./plc-worker.mjs", import.meta.url), { type: "module" })
        : new Worker(`${folder}plc-worker.mjs`, { type: "module" }),
      settings,
      ahead,
    );
    context.addEventListener("statechange", () => { if (context.state === "closed") node.close(); });
    try {
      await node.ready;
    } catch (error) {
      node.close();
      throw error;
    }
    return node;
  }

  begin(worker, settings, ahead) {
    this.worker = worker;
    this.settings = settings;
    // Counters of the buffer with delayMs, which the newest piece waits until it is heard, and milliseconds
    // held ahead, as they were a quarter of a second ago.
    this.stats = null;
    this.bufferedMs = 0;
    // Times that the audio thread played silence, as the worker was late; what it stood for is not heard.
    this.starved = 0;
    this.failure = null;
    const { port1, port2 } = new MessageChannel();
    this.port.onmessage = ({ data: { starved } }) => { this.starved = starved; };
    this.ready = new Promise((resolve, reject) => {
      worker.onerror = ({ message }) => {
        this.failure = new Error(`plc-worker.mjs: ${message ?? "cannot be loaded"}`);
        reject(this.failure);
      };
      worker.onmessage = ({ data: { refused, stats, bufferedMs } }) => {
        if (refused) {
          reject(new RangeError(refused));
          return;
        }
        if (!this.stats) this.port.postMessage({ port: port2, since: Date.now() }, [port2]); // time passes now
        Object.assign(this, { stats, bufferedMs });
        resolve();
      };
    });
    worker.postMessage({ settings, port: port1, ahead }, [port1]);
  }

  // As PlayoutBuffer.put, and throws what its worker threw; how many samples were new is in `stats` later.
  put(data, timestampUs = data?.timestamp ?? null) {
    const { channels, sampleRate } = this.settings;
    if (this.failure) throw this.failure;
    positionOf(timestampUs, sampleRate);
    const given = rawBytes(data);
    const samples = given instanceof Uint8Array ? given : samplesOf(given, channels, sampleRate);
    const piece = samples === given ? samples.slice() : samples;
    this.worker.postMessage({ piece, timestampUs }, [piece.buffer]);
  }

  // As of PlayoutBuffer; clear drops what the audio thread holds ahead, too.
  end() {
    this.worker.postMessage({ call: "end" });
  }

  clear() {
    this.worker.postMessage({ call: "clear" });
  }

  // Ends it, its worker, and its processor.
  close() {
    this.port.postMessage({ end: true });
    this.worker.terminate();
    this.disconnect();
  }
}

// Throws RangeError where a setting of the node is one that its context has, or that it sees to itself.
function check(contextRate, channels, { sampleRate = contextRate, model }) {
  if (sampleRate !== contextRate) {
    throw new RangeError(`sampleRate is ${sampleRate}, and the context plays ${contextRate} Hz; make it by ` +
      `new AudioContext({ sampleRate: ${sampleRate} })`);
  }
  if (model !== undefined) {
    throw new RangeError('PlcNode fetches its networks: give uses, such as ["speech"], or [] for none, and no model');
  }
  if (!(Number.isInteger(channels) && channels >= 1 && channels <= 8)) {
    throw new RangeError(`channels is ${channels}; give 1 to 8`);
  }
}
