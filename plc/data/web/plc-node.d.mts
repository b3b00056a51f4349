import type { Piece, PlayoutSettings, PlayoutStats, Use } from "./plc.mjs";

export interface NodeSettings extends Omit<PlayoutSettings, "sampleRate" | "model" | "module"> {
  /** Networks to fetch; none: prediction alone. */
  uses?: Use[];
  /** Where plc-worker.mjs, plc-processor.mjs and the networks are, if not beside the module. */
  folder?: string;
}

/** Plays sound that comes in pieces, and conceals what is late or lost. */
export class PlcNode extends AudioWorkletNode {
  /** @throws RangeError if a setting is unknown or out of its range */
  static create(context: BaseAudioContext, settings?: NodeSettings): Promise<PlcNode>;
  /** Counters, as they were a quarter of a second ago at most. */
  readonly stats: PlayoutStats | null;
  /** Milliseconds that are held ahead of what is played. */
  readonly bufferedMs: number;
  /** Times that the audio thread had nothing to play. */
  readonly starved: number;
  put(data: Piece | ArrayBuffer | Uint8Array, timestampUs?: number | null): void;
  /** Sound ends with the newest piece: silence follows it. */
  end(): void;
  /** Drops what waits; the next piece is played at once. */
  clear(): void;
  close(): void;
}
