/** What a row of the list tells. */

import type { ComponentChildren } from "preact";
import { cost, duration, firstLine, moment, short, when } from "../format";
import { Badge, standing } from "../parts";
import type { Head } from "../types";

export interface Column {
  name: string;
  title: string;
  /** What the API sorts by; a column without is not sorted. */
  sort?: string;
  numeric?: boolean;
  class: string;
  cell: (head: Head, now: number) => ComponentChildren;
  /** What is told of it besides where one points at it. */
  tells?: (head: Head) => string | undefined;
}

/** Seconds that a session took, or has taken until now. */
export function elapsed(head: Head, now: number): number {
  if (head.duration_secs !== undefined) return head.duration_secs;
  const until = head.status === "active" ? now : Date.parse(head.last_event_at);
  return Math.max(0, (until - Date.parse(head.started_at)) / 1000);
}

const ALL: Omit<Column, "class">[] = [
  { name: "outcome", title: "Outcome", sort: "outcome", cell: (head) => <Badge of={standing(head)} small /> },
  {
    name: "prompt",
    title: "Prompt",
    cell: (head) => (
      <>
        <span class="prompt">{firstLine(head.prompt) || <em>no prompt</em>}</span>
        <span class="id">{head.id}</span>
      </>
    ),
  },
  { name: "kind", title: "Kind", sort: "kind", cell: (head) => head.kind },
  { name: "agent", title: "Agent", sort: "agent", cell: (head) => head.agents?.join(", "), tells: (head) => head.models?.join(", ") },
  { name: "project", title: "Project", sort: "project", cell: (head) => head.project, tells: (head) => head.working_dir },
  { name: "turns", title: "Turns", sort: "turns", numeric: true, cell: (head) => (head.iterations ? `${head.iterations} it.` : head.turns) },
  { name: "files", title: "Files", sort: "files", numeric: true, cell: (head) => head.files_changed || "" },
  { name: "tokens", title: "Tokens", sort: "tokens", numeric: true, cell: (head) => (head.tokens ? short(head.tokens.input + head.tokens.output) : "") },
  { name: "cost", title: "Cost", sort: "cost", numeric: true, cell: (head) => (head.cost_usd === undefined ? "" : cost(head.cost_usd)) },
  { name: "duration", title: "Took", sort: "duration", numeric: true, cell: (head, now) => duration(elapsed(head, now)) },
  { name: "started", title: "Started", sort: "started", numeric: true, cell: (head, now) => <time dateTime={head.started_at}>{when(head.started_at, new Date(now))}</time>, tells: (head) => moment(head.started_at) },
];

export const COLUMNS: Column[] = ALL.map((column) => ({ ...column, class: `${column.name}${column.numeric ? " numeric" : ""}` }));
