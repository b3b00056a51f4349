import type { Piece, PlayoutSettings, PlayoutStats, Use } from "./plc.mjs";

export interface NodeSettings extends Omit<PlayoutSettings, "sampleRate" | "model" | "module"> {
  /** That of the context, which plays no other. */
  sampleRate?: number;
  /** Networks to fetch; none: prediction alone. */
  uses?: Use[];
  /** Where plc-worker.mjs, plc-processor.mjs and the networks are, if not beside the module. */
  folder?: string;
}

export interface NodeStats extends PlayoutStats {
  /** Milliseconds that the newest piece waits until it is heard. */
  delayMs: number;
}

/** Plays sound that comes in pieces, and conceals what is late or lost. */
export class PlcNode extends AudioWorkletNode {
  /** @throws RangeError if a setting is unknown or out of its range, or sampleRate is not the context's */
  static create(context: BaseAudioContext, settings?: NodeSettings): Promise<PlcNode>;
  /** Counters, as they were a quarter of a second ago at most. */
  readonly stats: NodeStats | null;
  /** Milliseconds that are held ahead of what is played. */
  readonly bufferedMs: number;
  /** Times that the audio thread played silence, as the worker was late; what it stood for is not heard. */
  readonly starved: number;
  /** @throws RangeError if that is no piece, or no time */
  put(data: Piece | ArrayBuffer | Uint8Array, timestampUs?: number | null): void;
  /** Sound ends with the newest piece: silence follows it. */
  end(): void;
  /** Drops what waits; the next piece is played at once. */
  clear(): void;
  close(): void;
}
