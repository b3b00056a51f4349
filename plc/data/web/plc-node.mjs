// An AudioWorkletNode that plays sound which comes in pieces with a time stamp, and conceals what is
// late or lost. PlayoutBuffer of plc.mjs does so in a worker; the audio thread only copies.
//
//   import { PlcNode } from "./plc-node.mjs";
//   const node = await PlcNode.create(context, { channels: 1, delayMs: 60 });
//   node.connect(context.destination);
//   socket.binaryType = "arraybuffer";
//   socket.onmessage = ({ data }) => node.put(new Int16Array(data));    // pieces that follow each other
//   stamps = [], decoder = new AudioDecoder({ output: (data) => { node.put(data, stamps.shift()); data.close(); }, … });
//   stamps.push(chunk.timestamp), decoder.decode(chunk);  // those of its output pass over lost packets
//
// Files beside it: plc.mjs, plc-worker.mjs, plc-processor.mjs and the networks. Each is named in such a
// way that bundlers find it.

import { fetchModel, rawBytes, samplesOf } from "./plc.mjs";

// There is none outside of pages, and in those that are neither of https nor of this machine.
const NODE = globalThis.AudioWorkletNode ?? class {};

export class PlcNode extends NODE {
  // Settings: those of PlayoutBuffer but sampleRate, which is the context's; uses: the networks to
  // fetch ("speech", "music", "bridges" with a lookahead; none: prediction alone); folder: where the
  // files are, if not where bundlers put them. Throws RangeError and Error as PlayoutBuffer and
  // fetchModel do.
  static async create(context, { uses = ["speech"], folder = null, channels = 1, ...others } = {}) {
    if (!context?.audioWorklet) {
      throw new Error("PlcNode needs an AudioContext of a page of https or of this machine; elsewhere " +
        "PlayoutBuffer of plc.mjs gives the samples");
    }
    const { sampleRate } = context;
    const [model] = await Promise.all([
      fetchModel(sampleRate, uses, folder),
      context.audioWorklet.addModule(
        folder === null ? new URL("./plc-processor.mjs", import.meta.url) : `${folder}plc-processor.mjs`,
      ),
    ]);
    const settings = { ...others, channels, sampleRate, model };
    const node = new PlcNode(context, "plc-playout", { numberOfInputs: 0, outputChannelCount: [channels] });
    node.begin(
      folder === null
        ? new Worker(new URL("./plc-worker.mjs", import.meta.url), { type: "module" })
        : new Worker(`${folder}plc-worker.mjs`, { type: "module" }),
      settings,
    );
    try {
      await node.ready;
    } catch (error) {
      node.close();
      throw error;
    }
    return node;
  }

  begin(worker, settings) {
    this.worker = worker;
    this.settings = settings;
    // Counters of the buffer, and milliseconds held ahead, as they were a quarter of a second ago.
    this.stats = null;
    this.bufferedMs = 0;
    // Times that the audio thread had nothing to play, as the worker was late.
    this.starved = 0;
    const { port1, port2 } = new MessageChannel();
    this.port.onmessage = ({ data: { starved } }) => { this.starved = starved; };
    this.ready = new Promise((resolve, reject) => {
      worker.onerror = ({ message }) => reject(new Error(`plc-worker.mjs: ${message ?? "cannot be loaded"}`));
      worker.onmessage = ({ data: { refused, stats, bufferedMs } }) => {
        if (refused) reject(new RangeError(refused));
        else resolve();
        Object.assign(this, { stats, bufferedMs });
      };
    });
    worker.postMessage({ settings, port: port1 }, [port1]);
    this.port.postMessage({ port: port2 }, [port2]);
  }

  // As PlayoutBuffer.put; how many samples were new is in `stats` later.
  put(data, timestampUs = data?.timestamp ?? null) {
    const { channels, sampleRate } = this.settings;
    const given = rawBytes(data);
    const samples = given instanceof Uint8Array ? given : samplesOf(given, channels, sampleRate);
    const piece = samples === given ? samples.slice() : samples;
    this.worker.postMessage({ piece, timestampUs }, [piece.buffer]);
  }

  // As of PlayoutBuffer.
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
