// The AudioWorklet: cuts its input into packets, loses some, plays the lanes, reports what it did.
//
// Its output lags by one packet: while a packet fills, the one before it is played. Reports go to
// the page in buffers that the page hands back; where none is back in time, a report is left out.

import { Lanes } from "./lanes.mjs";
import { Losses } from "./losses.mjs";

const REPORT_S = 0.02;
const REPORTS = 16;

class Concealing extends AudioWorkletProcessor {
  constructor({ processorOptions: { module, settings, losses, lane } }) {
    super();
    const { sampleRate, channels, packetSamples } = settings;
    this.channels = channels;
    this.lanes = new Lanes(module, settings, lane);
    this.losses = new Losses(losses);
    this.packet = new Float32Array(channels * packetSamples);
    this.playing = new Float32Array(channels * packetSamples);
    this.filled = 0;
    this.ended = false;
    // A report: for each packet whether it was lost, then the packets, then what was played.
    const each = Math.max(1, Math.round((REPORT_S * sampleRate) / packetSamples));
    this.inReport = each;
    this.reported = 0;
    this.spare = Array.from(
      { length: REPORTS }, () => new Float32Array(each * (1 + 2 * this.packet.length)),
    );
    this.report = this.spare.pop();
    this.message = {
      samples: this.report, packets: 0, lost: 0, concealed: 0, packetsInReport: each,
      concealedSamples: 0, networkSamples: 0,
    };
    this.transfer = [this.report.buffer];
    this.port.onmessage = ({ data }) => this.take(data);
  }

  take({ samples, lane, losses, gapPackets, end }) {
    if (samples) this.spare.push(samples);
    if (lane) this.lanes.choose(lane);
    if (losses) this.losses.set(losses.share, losses.burst);
    if (gapPackets) this.losses.force(gapPackets);
    if (end) this.ended = true;
  }

  process([input], [output]) {
    const { channels, packet } = this;
    const count = output[0].length;
    for (let i = 0; i < count; i++) {
      const at = this.filled * channels;
      for (let c = 0; c < channels; c++) {
        packet[at + c] = c < input.length ? input[c][i] : 0;
        output[c][i] = this.playing[at + c];
      }
      this.filled += 1;
      if (at + channels === packet.length) {
        this.filled = 0;
        this.playing = this.lanes.push(packet, this.losses.next());
        this.note();
      }
    }
    return !this.ended;
  }

  // Puts the packet just played into the report; sends it when it is full.
  note() {
    const { lanes, message, packet } = this;
    message.packets += 1;
    if (lanes.lost) message.lost += 1;
    if (lanes.concealed) message.concealed += 1;
    if (this.report === null && this.reported === 0) this.report = this.spare.pop() ?? null;
    if (this.report !== null) {
      const original = this.inReport + this.reported * packet.length;
      this.report[this.reported] = lanes.lost ? 1 : 0;
      this.report.set(lanes.original, original);
      this.report.set(this.playing, original + this.inReport * packet.length);
    }
    this.reported += 1;
    if (this.reported < this.inReport) return;
    this.reported = 0;
    if (this.report === null) return;
    message.samples = this.report;
    message.concealedSamples = lanes.step.concealedSamples;
    message.networkSamples = lanes.step.networkSamples;
    this.transfer[0] = this.report.buffer;
    this.port.postMessage(message, this.transfer);
    this.report = null;
  }
}

registerProcessor("plc", Concealing);
