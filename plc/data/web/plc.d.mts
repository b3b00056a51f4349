/** Done in a push; `flags` is a sum of them. */
export const CONCEALED: 1;
export const CROSSFADED: 2;
export const REFUSED: 4;

export type Use = "speech" | "music" | "bridges";
/** Content that is known, or heard from the sound. */
export type Content = "auto" | "music" | "speech";
/** What made concealed samples. */
export type Maker = Use | "prediction" | "noise";

/** The compiled step, for `module`. */
export function compiled(): WebAssembly.Module;
/** The name of the network for a sample rate in Hz; null: there is none. */
export function modelFor(sampleRate: number, use?: Use): string | null;
/** Networks, fetched from beside the module or from a folder, as one file; null where there is none. */
export function fetchModel(sampleRate: number, uses?: Use[], folder?: string): Promise<Uint8Array | null>;
/** Files of networks, one after another. */
export function joined(models: Uint8Array[]): Uint8Array;
/** Whether these bytes are files of networks, as far as their beginnings tell. */
export function isModel(model: Uint8Array): boolean;
/** Whether a network of them serves this sample rate in Hz. */
export function serves(model: Uint8Array, sampleRate: number): boolean;
/** The bytes of an ArrayBuffer; all else as it is. */
export function rawBytes<T>(given: T): T | Uint8Array;
/** The position of a time stamp in microseconds, in samples; null: it has none. */
export function positionOf(timestampUs: number | null, sampleRate: number): number | null;
/** Samples of a piece, interleaved. */
export function samplesOf(data: Piece, channels: number, sampleRate: number): Float32Array;

export interface Settings {
  /** In Hz, 8000 to 192000. */
  sampleRate: number;
  /** 1 to 8. */
  channels?: number;
  /** Samples of each channel: 1 ms of them (or 32) to 120 ms. */
  packetSamples: number;
  /** Packets by which the output is delayed. */
  lookahead?: number;
  /** Of the ladder of predictors: 0 is the best, 11 the cheapest. */
  rung?: number;
  /** Of the comfort noise. */
  seed?: number;
  /** Files of networks, or null: prediction alone. */
  model?: Uint8Array | null;
  content?: Content;
  /** Whether prepare() will be called. */
  prepare?: boolean;
  /** What a lost packet may take here, in milliseconds; by default whatever it costs. */
  limitMs?: number;
  /** What compiled() returns, where it is at hand. */
  module?: WebAssembly.Module;
}

/** One stream. */
export class Concealer {
  /** @throws RangeError if a setting is unknown or out of its range, or a network is damaged */
  constructor(settings: Settings);
  readonly packetSamples: number;
  readonly lookahead: number;
  /** Samples of each channel by which the output lags. */
  readonly delay: number;
  /** Which networks of the model the stream uses. */
  readonly networks: Use[];
  /** Done in the last push: a sum of CONCEALED, CROSSFADED and REFUSED. */
  readonly flags: number;
  readonly servedBy: Maker | null;
  readonly served: Record<Maker, number>;
  readonly concealedSamples: number;
  readonly networkSamples: number;
  readonly silentSamples: number;
  readonly counters: Record<string, number>;
  /**
   * Takes a packet, interleaved, or null for one that was lost, and returns what to play: a view that
   * the next push overwrites. `missing`: parts that did not arrive, in samples of each channel.
   * `behind`: what is known behind a lost packet, as your jitter buffer holds it: samples from the
   * packet's end on, and the sound, interleaved. The hole is then filled from both sides, at no delay.
   */
  push(
    packet: Float32Array | null,
    missing?: [first: number, behind: number][],
    behind?: [distance: number, samples: Float32Array][],
  ): Float32Array;
  /** Samples of each channel behind a lost packet that are made use of, where they are known. */
  readonly behindSamples: number;
  /** Makes what would be played if the next packet were lost; whether it is ready. */
  prepare(): boolean;
  /** What the lookahead holds; then the stream begins anew. */
  flush(): Float32Array;
  /** As new, with the same settings. */
  reset(): void;
}

/** AudioData of WebCodecs, as far as it is looked at. */
export interface AudioDataLike {
  readonly timestamp: number;
  readonly sampleRate: number;
  readonly numberOfChannels: number;
  readonly numberOfFrames: number;
  copyTo(destination: Float32Array, options: { planeIndex: number; format: "f32-planar" }): void;
}
/** Interleaved samples, or AudioData. */
export type Piece = Float32Array | Int16Array | AudioDataLike;

export interface PlayoutSettings extends Omit<Settings, "packetSamples" | "prepare"> {
  /** Of what is concealed at once. */
  packetMs?: number;
  /** That the first piece waits. */
  delayMs?: number;
  /** Of all stalls that are waited for; 0: the delay stays, and what is late is lost. */
  maxDelayMs?: number;
  /** How far ahead pieces may come. */
  mostAheadS?: number;
  /** Of bytes, put or taken: 16 bits, little-endian, or G.711. */
  encoding?: "int16" | "mulaw";
}

/** Samples of each channel, and jumps of the sender's clock. */
export interface PlayoutStats {
  receivedSamples: number;
  duplicateSamples: number;
  lateSamples: number;
  lostSamples: number;
  unsentSamples: number;
  refusedSamples: number;
  overflowSamples: number;
  jumps: number;
}

/** One stream of pieces of sound with a time stamp, in any order; a steady stream out. */
export class PlayoutBuffer {
  constructor(settings: PlayoutSettings);
  readonly stats: PlayoutStats;
  /** Milliseconds that are held ahead of what is played. */
  readonly bufferedMs: number;
  /** Takes a piece in; how many samples of each channel are new. */
  put(data: Piece | ArrayBuffer | Uint8Array, timestampUs?: number | null): number;
  /** Sound ends with the newest piece: silence follows it. */
  end(): void;
  /** Drops what waits; the next piece is played at once. */
  clear(): void;
  /** As new, with the same settings and its counters: the next piece waits for delayMs again. */
  reset(): void;
  /** The next samples to play, interleaved, and 1 where nothing had arrived. */
  take(count: number): { samples: Float32Array; madeUp: Uint8Array };
  /** The same, the samples as bytes of `encoding`. */
  takeBytes(count: number): { bytes: Uint8Array; madeUp: Uint8Array };
}
