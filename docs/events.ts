// Written by docs/write_events_ts.py from the JSON Schema at GET /events/schema.

/** First of all: what stays constant in the stream. `created` is in Unix seconds. */
export interface RunStarted {
  type: "run-started";
  seq: number;
  id: string;
  created: number;
  model: string;
}

/** A step of the answer begins; every part and item stands in one. */
export interface StepStarted {
  type: "step-started";
  seq: number;
  step: number;
  name: string | null;
}

/** A part opens. */
export interface PartStarted {
  type: "part-started";
  seq: number;
  part: Part;
}

/** All that is known of a part from its first event on; its events share one `Part`. */
export interface Part {
  index: number;
  kind: "reasoning" | "refusal" | "text" | "tool_call";
  ordinal: number;
  step: number;
  id: string;
  name: string;
  by: "client" | "provider" | "server" | null;
  redacted?: boolean;
}

/** A part grows by `text`, which is never empty; `part` is its index. */
export interface PartDelta {
  type: "part-delta";
  seq: number;
  kind: "reasoning" | "refusal" | "text" | "tool_call";
  part: number;
  text: string;
}

/** A part is closed; `text` is all of it. */
export interface PartEnded {
  type: "part-ended";
  seq: number;
  part: Part;
  text: string;
  signature?: string | null;
  whole?: boolean;
}

/** Something that comes whole. */
export interface ItemAdded {
  type: "item-added";
  seq: number;
  item: ToolResult | Approval | Source | Document | File | Data | Metadata | State | StateDelta;
}

/** A tool's answer to the call with this id: any value that JSON can hold. */
export interface ToolResult {
  type: "tool-result";
  id: string;
  output: unknown;
  error: boolean;
  denied: boolean;
}

/** A question to a human: whether a call may run. */
export interface Approval {
  type: "approval";
  call_id: string;
  reason: string | null;
}

/** Something that the answer rests on. */
export interface Source {
  type: "source";
  url: string;
  title: string | null;
}

/** The same of what has no address: a file that was found in a store, say. */
export interface Document {
  type: "document";
  title: string;
  media_type: string;
  filename: string | null;
}

/** A file that belongs to the answer; `url` may be a `data:` URL. */
export interface File {
  type: "file";
  url: string;
  media_type: string;
}

/** A value of the application's own, named, for clients that know it. */
export interface Data {
  type: "data";
  name: string;
  value: unknown;
  id: string | null;
  transient: boolean;
}

/** Fields of the application's own about the whole message. */
export interface Metadata {
  type: "metadata";
  fields: Record<string, unknown>;
}

/** The whole state that an agent shares with its client, as AG-UI has it. */
export interface State {
  type: "state";
  value: unknown;
}

/** A change of the shared state: the operations of a JSON Patch (RFC 6902). */
export interface StateDelta {
  type: "state-delta";
  patch: (Record<string, unknown>)[];
}

/** Something of the provider's own, for formats of its family: see `chunks.Native`. */
export interface NativeAdded {
  type: "native-added";
  seq: number;
  family: string;
  fields: Record<string, unknown>;
}

/** The tokens used by the whole answer so far. */
export interface UsageReported {
  type: "usage-reported";
  seq: number;
  usage: Usage;
}

/** Tokens that the current model call has used so far. */
export interface Usage {
  type: "usage";
  input_tokens: number;
  output_tokens: number;
  cached_tokens: number;
  reasoning_tokens: number;
  cache_write_tokens: number;
  additive: boolean;
}

/** The step is over, and no part of it is open. */
export interface StepEnded {
  type: "step-ended";
  seq: number;
  step: number;
}

/** For one who follows a run that a store keeps: what is past is over, what comes is new. It is no event of the run, and its number is that of the one before. */
export interface CaughtUp {
  type: "caught-up";
  seq: number;
}

/** The answer is whole. `completed` is the time of it, in Unix seconds, where it is known. */
export interface RunFinished {
  type: "run-finished";
  seq: number;
  usage: Usage | null;
  reason: "content_filter" | "length" | "other" | "stop" | "tool_calls";
  native: string | null;
  completed: number | null;
  details?: Record<string, unknown>;
}

/** The answer broke off; the message is safe to show. */
export interface RunFailed {
  type: "run-failed";
  seq: number;
  usage: Usage | null;
  message: string;
  code: string;
  status: number;
  param: string | null;
  retry_after: string | null;
  should_retry: boolean | null;
}

/** The answer was ended from outside: the client left, somebody stopped it, or the server shuts down. */
export interface RunAborted {
  type: "run-aborted";
  seq: number;
  usage: Usage | null;
  reason: string;
}

/** One plain event of asgi-llmstream: run-started, any number of the others, then exactly one of run-finished, run-failed and run-aborted. */
export type PlainEvent =
  | RunStarted
  | StepStarted
  | PartStarted
  | PartDelta
  | PartEnded
  | ItemAdded
  | NativeAdded
  | UsageReported
  | StepEnded
  | CaughtUp
  | RunFinished
  | RunFailed
  | RunAborted;

export const EVENT_TYPES = [
  "run-started",
  "step-started",
  "part-started",
  "part-delta",
  "part-ended",
  "item-added",
  "native-added",
  "usage-reported",
  "step-ended",
  "caught-up",
  "run-finished",
  "run-failed",
  "run-aborted",
] as const;
