/** What the API answers: see openapi.json, and docs/format.md for what stands in the journal. */

export type Outcome = "success" | "failed" | "interrupted" | "max_iterations_reached" | "crashed" | "unknown";
export type Status = "active" | "checkpointed" | "completed" | "crashed";

export interface Tokens {
  input: number;
  cached_input: number;
  output: number;
  reasoning: number;
}

/** A session's head, with the status that is shown. */
export interface Head {
  id: string;
  kind: string;
  status: Status;
  outcome?: Outcome;
  started_at: string;
  ended_at?: string;
  last_event_at: string;
  duration_secs?: number;
  exit_code?: number;
  prompt: string;
  working_dir: string;
  project: string;
  session_dir: string;
  agents?: string[];
  models?: string[];
  turns: number;
  iterations?: number;
  tokens?: Tokens;
  cost_usd?: number;
  files_changed?: number;
  checkpoint_reason?: string;
  summary?: string;
  image_config_name?: string;
  container_name?: string;
  git?: { head?: string; branch?: string };
  host?: string;
  decklog_version: string;
  recording_failures?: number;
  events: number;
  journal_bytes: number;
}

export interface ArtifactRef {
  path: string;
  bytes: number;
}

export interface FileChange {
  path: string;
  old_path?: string;
  status: string;
  added?: number;
  removed?: number;
}

export interface Check {
  command: string;
  passed: boolean;
  exit_code: number | null;
  duration_secs: number;
  output_html: string;
  cut: boolean;
  output_artifact: ArtifactRef | null;
}

/** A turn without its steps. */
export interface Turn {
  turn: number;
  agent: string;
  role: string;
  model: string | null;
  permissions: string | null;
  command: string[];
  boxed: boolean;
  started_at: string;
  ended_at: string | null;
  outcome: string | null;
  duration_secs: number | null;
  exit_code: number | null;
  signal: number | null;
  error: string | null;
  agent_session_id: string | null;
  steps: number;
  tools: number;
  tokens: Tokens;
  cost_usd: number | null;
  rate_limits: { message: string; resets_at?: string }[];
  validations: Check[];
  files: FileChange[];
  files_changed: number;
  prompt: string;
  withheld: { path: string; reason: string }[];
}

/** A moment on the timeline. */
export interface Mark {
  at: string;
  what: "check" | "rate_limited" | "handoff" | "checkpoint" | "resumed" | "iteration" | "end";
  turn: number | null;
  label: string;
  good: boolean | null;
  duration_secs: number | null;
}

export interface Iteration {
  iteration_number: number;
  actor_turn?: number;
  critic_turn?: number;
  actor_exit_code: number;
  actor_duration_secs: number;
  git_files_changed: number;
  checks_passed?: boolean;
  critic_decision: "DONE" | "CONTINUE" | "ERROR";
  critic_said?: string;
  feedback?: string;
  summary?: string;
  confidence?: number;
  feedback_html: string;
}

export interface Outline {
  position: number;
  session: Head;
  prompt: string;
  turns: Turn[];
  marks: Mark[];
  iterations: Iteration[];
  handoffs: { from: string; to: string; reason: string; packet_artifact?: ArtifactRef }[];
  containers: { image_config_name: string; image_tag: string; container_name: string; network: string; boxed?: boolean }[];
  picked: number | null;
  notices: { code: string; text: string }[];
  faults: string[];
}

/** A line of a diff: its mark, its numbers before and after (0 for none), and itself as HTML. */
export type DiffRow = [mark: " " | "+" | "-", before: number, after: number, html: string];

export interface Hunk {
  title: string;
  rows: DiffRow[];
}

export interface ChangedFile {
  path: string;
  old_path: string | null;
  status: string;
  notes: string[];
  added: number;
  removed: number;
  lines: number;
  hunks?: Hunk[];
  cut?: boolean;
}

export interface Changes {
  files: ChangedFile[];
  cut: boolean;
  missing?: string;
}

export interface Place {
  host: string;
  port: number;
  protocol: string;
  service: string;
  action: string;
  rule: string;
  claimed?: string;
  connections: number;
  bytes_out: number;
  bytes_in: number;
  first: string;
  last: string;
}

export type Step =
  | { type: "message" | "thought"; at: string; html: string; artifact: ArtifactRef | null }
  | { type: "plan"; entries: { content: string; status: string }[] }
  | { type: "notice"; code: string; text: string; artifact: ArtifactRef | null }
  | ToolStep;

export interface ToolStep {
  type: "tool";
  at: string;
  call_id: string;
  name: string;
  kind: string;
  title: string | null;
  status: "pending" | "in_progress" | "completed" | "failed";
  exit_code: number | null;
  duration_secs: number | null;
  lines: number;
  output_html: string;
  output_cut: boolean;
  output_artifact: ArtifactRef | null;
  input_artifact: ArtifactRef | null;
  command?: string;
  path?: string;
  hunks?: Hunk[];
  input_html?: string | null;
  network?: Place[];
}

export interface Hit {
  id: string;
  turn: number;
  at: string;
  field: string | null;
  excerpt: string;
  marks: [number, number][];
  session: Head | null;
}

export interface Average {
  mean: number;
  median: number;
}

export interface Group {
  key: string;
  sessions: number;
  completed: number;
  active: number;
  checkpointed: number;
  crashed: number;
  success: number;
  failed: number;
  interrupted: number;
  max_iterations_reached: number;
  /** Completed, with an outcome that the record does not hold. */
  unknown?: number;
  success_rate?: number;
  turns?: Average;
  iterations?: Average;
  duration_secs?: Average;
  tokens?: Average;
  cost_usd?: Average;
  tokens_total: Tokens;
  cost_usd_total: number;
}

export interface Stats {
  all: Group;
  by: Record<string, Group[]>;
}

export interface Charts {
  durations: { from: number; to?: number; sessions: number }[];
  iterations: number[];
  hours: number[][];
}

export interface Facet {
  value: string;
  sessions: number;
}

export interface Facets {
  agent: Facet[];
  model: Facet[];
  project: Facet[];
  sessions: number;
  unreadable: { id: string; reason: string }[];
}
