import { Concealer, fetchModel } from "./plc.mjs";

const sampleRate = 48000;
const packetSamples = 960; // Opus has frames of 20 ms
const packetUs = (1e6 * packetSamples) / sampleRate;

// Takes decoded frames by their timestamps, and conceals those that are missing between them.
class Receiver {
  constructor(model) {
    this.concealer = new Concealer({ sampleRate, packetSamples, model });
    this.due = 0; // timestamp of the next frame, in µs
    this.heard = [];
  }

  receive(timestamp, samples) {
    while (timestamp > this.due + packetUs / 2) this.play(null);
    this.play(samples);
  }

  play(samples) {
    this.heard.push(this.concealer.push(samples).slice());
    this.due += packetUs;
  }

  // An AudioDecoder may shift its timestamps, so each chunk's own is kept.
  decoder() {
    const timestamps = [];
    const decoder = new AudioDecoder({
      output: (frame) => {
        const samples = new Float32Array(packetSamples);
        if (frame.numberOfFrames === packetSamples) frame.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
        frame.close();
        this.receive(timestamps.shift(), samples);
      },
      error: fail,
    });
    decoder.configure({ codec: "opus", sampleRate, numberOfChannels: 1 });
    return {
      decode: (chunk) => {
        timestamps.push(chunk.timestamp);
        decoder.decode(chunk);
      },
      flush: () => decoder.flush(),
    };
  }
}

// Four seconds of syllables, of a voice and of hissing in turn: what is told to be speech.
function voice() {
  let phase = 0;
  return Float32Array.from({ length: 4 * sampleRate }, (_, i) => {
    const t = (i / sampleRate) % 1;
    const hertz = 120 + 40 * Math.sin(2 * Math.PI * t);
    phase += (2 * Math.PI * hertz) / sampleRate;
    let sum = 0;
    for (let k = 1; k * hertz < 3500; k++) sum += Math.sin(k * phase) / k;
    const voiced = Math.max(0, Math.sin(8 * Math.PI * t));
    const hissing = t < 0.5 ? 1 - voiced : 0;
    return 0.1 * (voiced * sum + hissing * (Math.random() - 0.5));
  });
}

async function encoded(signal) {
  const chunks = [];
  const encoder = new AudioEncoder({ output: (chunk) => chunks.push(chunk), error: fail });
  encoder.configure({ codec: "opus", sampleRate, numberOfChannels: 1, bitrate: 32000 });
  for (let at = 0; at + packetSamples <= signal.length; at += packetSamples) {
    const data = signal.slice(at, at + packetSamples);
    const timestamp = Math.round((1e6 * at) / sampleRate);
    const frame = { format: "f32", sampleRate, numberOfFrames: packetSamples, numberOfChannels: 1, timestamp, data };
    encoder.encode(new AudioData(frame));
  }
  await encoder.flush();
  return chunks;
}

async function run() {
  if (!("AudioEncoder" in window)) throw new Error("this browser has no WebCodecs for audio");
  const receiver = new Receiver(await fetchModel(sampleRate));
  const decoder = receiver.decoder();
  const chunks = await encoded(voice());
  const lost = chunks.map((_, k) => k % 10 === 5);
  chunks.forEach((chunk, k) => lost[k] || decoder.decode(new EncodedAudioChunk({
    type: "key", timestamp: Math.round(k * packetUs), data: bytesOf(chunk),
  })));
  await decoder.flush();
  const silent = receiver.heard.map((each, k) => (lost[k] ? new Float32Array(packetSamples) : each));
  return { counters: receiver.concealer.counters, heard: receiver.heard, silent };
}

function bytesOf(chunk) {
  const bytes = new Uint8Array(chunk.byteLength);
  chunk.copyTo(bytes);
  return bytes;
}

function fail(error) {
  document.getElementById("result").textContent = `${error.name}: ${error.message}`;
}

function play(packets) {
  const context = new AudioContext({ sampleRate });
  const buffer = context.createBuffer(1, packets.length * packetSamples, sampleRate);
  packets.forEach((each, k) => buffer.getChannelData(0).set(each, k * packetSamples));
  const source = new AudioBufferSourceNode(context, { buffer });
  source.onended = () => context.close();
  source.connect(context.destination);
  source.start();
}

document.getElementById("source").textContent = document.getElementById("example").textContent;
document.getElementById("run").addEventListener("click", async () => {
  try {
    const { counters, heard, silent } = await run();
    document.getElementById("result").textContent = JSON.stringify(counters, null, 2);
    for (const [id, packets] of [["play-lost", silent], ["play-concealed", heard]]) {
      const button = document.getElementById(id);
      button.disabled = false;
      button.onclick = () => play(packets);
    }
  } catch (error) {
    fail(error);
  }
});
