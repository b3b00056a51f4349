"use strict";
// Plays the versions of a clip side by side: all of them run, one is heard.

// A switch fades over this long: no click, and too short to be noticed.
const SWITCH_S = 0.008;
// Decoded clips kept: about 3 MB each for a version of 6 s.
const CLIPS_KEPT = 3;

const arriving = new Map(); // clip id -> what takes its data
const decoded = new Map(); // clip id -> promise of its versions, the last used at the end

// Called by clips/N.js. A script can be loaded from file://, where fetch() may not read.
window.plcClip = (id, data) => arriving.get(id)(data);

function clipData(clip) {
  if (typeof clip.audio === "object") return Promise.resolve(clip.audio); // stands in the page
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    arriving.set(clip.id, resolve);
    script.src = clip.audio;
    script.onerror = () => reject(new Error(`${clip.audio} cannot be read`));
    script.onload = () => script.remove();
    document.head.append(script);
  });
}

function bytes(base64) {
  const text = atob(base64);
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
  return out.buffer;
}

// Return name -> AudioBuffer at the clip's own rate. Most versions come as their difference to the
// reference, which is silence but for the gaps and so takes next to no room. Both are whole multiples
// of 1/32768 but for what the browser's decoder rounded, and so is their sum.
async function decode(clip) {
  const data = await clipData(clip);
  const context = new OfflineAudioContext(clip.channels, 1, clip.sampleRate);
  const versions = new Map();
  const decodeOne = async (coded) => whole(await context.decodeAudioData(bytes(coded.audio)));
  const reference = await decodeOne(data.reference);
  for (const track of clip.tracks) {
    if (track.name === "reference") versions.set(track.name, reference);
    else if (!(track.name in data)) versions.set(track.name, withHoles(clip, reference));
    else {
      const coded = data[track.name];
      const buffer = await decodeOne(coded);
      versions.set(track.name, coded.difference ? sum(reference, buffer) : buffer);
    }
  }
  return versions;
}

function whole(buffer) {
  for (let c = 0; c < buffer.numberOfChannels; c++) {
    const samples = buffer.getChannelData(c);
    for (let i = 0; i < samples.length; i++) samples[i] = Math.round(samples[i] * 32768) / 32768;
  }
  return buffer;
}

function sum(first, second) {
  const { numberOfChannels, length, sampleRate } = first;
  const out = new AudioBuffer({ numberOfChannels, length, sampleRate });
  for (let c = 0; c < numberOfChannels; c++) {
    const a = first.getChannelData(c), b = second.getChannelData(c), y = out.getChannelData(c);
    for (let i = 0; i < length; i++) y[i] = a[i] + b[i];
  }
  return out;
}

function withHoles(clip, reference) {
  const { numberOfChannels, length, sampleRate } = reference;
  const out = new AudioBuffer({ numberOfChannels, length, sampleRate });
  for (let c = 0; c < numberOfChannels; c++) {
    const samples = out.getChannelData(c);
    samples.set(reference.getChannelData(c));
    for (let k = 0; k < clip.trace.length; k++) {
      const at = k * clip.packetSamples;
      if (clip.trace[k] === "1") samples.fill(0, at, at + clip.packetSamples);
    }
  }
  return out;
}

function versionsOf(clip) {
  const known = decoded.get(clip.id) ?? decode(clip);
  decoded.delete(clip.id);
  decoded.set(clip.id, known);
  known.catch(() => decoded.delete(clip.id)); // to be tried again
  while (decoded.size > CLIPS_KEPT) decoded.delete(decoded.keys().next().value);
  return known;
}

let audio = null;
function audioContext() {
  audio ??= new AudioContext({ latencyHint: "interactive" });
  return audio;
}

// One clip's versions on the way to the loudspeaker.
class Deck {
  constructor(clip, names, onChange = () => {}) {
    this.clip = clip;
    this.names = names;
    this.heard = names[0];
    this.duration = clip.samples / clip.sampleRate;
    this.offset = 0; // where it stands while it does not play, in s
    this.began = null; // on the audio clock, when position 0 was or would have been
    this.voices = new Map();
    this.onChange = onChange;
  }

  get playing() {
    return this.began !== null;
  }

  get position() {
    if (!this.playing) return this.offset;
    const heardAt = audio.currentTime - (audio.outputLatency || 0);
    return Math.min(this.duration, Math.max(0, heardAt - this.began));
  }

  async play() {
    const versions = await versionsOf(this.clip);
    const context = audioContext();
    await context.resume();
    if (this.playing) return;
    if (Deck.current && Deck.current !== this) Deck.current.pause();
    Deck.current = this;
    if (this.offset >= this.duration - 0.01) this.offset = 0;
    const start = context.currentTime + 0.03; // all of them begin at the same sample
    for (const name of this.names) {
      const source = new AudioBufferSourceNode(context, { buffer: versions.get(name) });
      const gain = new GainNode(context, { gain: 0 });
      gain.gain.setValueAtTime(0, start);
      gain.gain.linearRampToValueAtTime(name === this.heard ? 1 : 0, start + SWITCH_S);
      source.connect(gain).connect(context.destination);
      source.start(start, this.offset);
      this.voices.set(name, { source, gain });
    }
    this.began = start - this.offset;
    const last = this.voices.get(this.names[0]).source;
    last.onended = () => {
      if (this.voices.get(this.names[0])?.source === last) this.pause(0);
    };
    this.onChange();
  }

  pause(at = this.position) {
    const now = audio?.currentTime;
    for (const { source, gain } of this.voices.values()) {
      gain.gain.cancelScheduledValues(now);
      gain.gain.setTargetAtTime(0, now, SWITCH_S / 3);
      source.stop(now + 2 * SWITCH_S);
    }
    this.voices.clear();
    this.offset = at;
    this.began = null;
    this.onChange();
  }

  toggle() {
    return this.playing ? this.pause() : this.play();
  }

  async seek(seconds) {
    const playing = this.playing;
    const at = Math.min(this.duration, Math.max(0, seconds));
    this.pause(at);
    if (playing) await this.play();
  }

  choose(name) {
    if (!this.names.includes(name)) return;
    if (this.playing) {
      const now = audio.currentTime;
      for (const [other, { gain }] of this.voices) {
        if (other !== name && other !== this.heard) continue;
        const from = gain.gain.value;
        gain.gain.cancelScheduledValues(now);
        gain.gain.setValueAtTime(from, now);
        gain.gain.linearRampToValueAtTime(other === name ? 1 : 0, now + SWITCH_S);
      }
    }
    this.heard = name;
    this.onChange();
  }

  step(by) {
    const count = this.names.length;
    this.choose(this.names[(this.names.indexOf(this.heard) + by + count) % count]);
  }
}
Deck.current = null;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// A click with a pointer lets the keyboard go back to the page: space then plays.
function press(action) {
  return (event) => {
    if (event.detail) event.currentTarget.blur();
    action(event);
  };
}

function clock(seconds) {
  return seconds.toFixed(1).padStart(4, "0") + " s";
}

// Where along an element a pointer is, 0 to 1.
function along(event) {
  const box = event.currentTarget.getBoundingClientRect();
  return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
}
