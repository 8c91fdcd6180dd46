/** When what happened, drawn to scale: turns as bars, checks and handoffs as marks. Each part leads to what it stands for. */

import { useSignal } from "@preact/signals";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { clock, duration, moment } from "../format";
import { word } from "../parts";
import { A, toTurn, withQuery } from "../router";
import type { Mark, Outline, Turn } from "../types";

/** Turns, and marks, above which those that lie together are drawn as one. */
const MANY = 200;

/** Pixels within which turns lie together. */
const TOGETHER = 8;

/** Pixels that a mark takes, and the rows on which those stand that are nearer to each other. */
const MARK = 20;
const ROWS = 3;

/** A turn in its place, or several of one lane. */
interface Span {
  turns: Turn[];
  lane: number;
  from: number;
  to: number;
}

/** Turns that overlap stand below each other, on as many lanes as are needed. */
function lanesOf(turns: Turn[], now: number): Span[] {
  const ends: number[] = [];
  return turns.map((turn) => {
    const from = Date.parse(turn.started_at);
    const to = turn.ended_at ? Date.parse(turn.ended_at) : now;
    let lane = ends.findIndex((end) => end <= from);
    if (lane < 0) lane = ends.length;
    ends[lane] = to;
    return { turns: [turn], lane, from, to };
  });
}

/** Draws what lies together as one where there is so much that nobody could tell it apart. */
function merged<T>(all: T[], key: (one: T) => string | null, merge: (into: T, one: T) => T): T[] {
  if (all.length <= MANY) return all;
  const last = new Map<string, number>();
  const drawn: T[] = [];
  for (const one of all) {
    const where = key(one);
    const at = where === null ? undefined : last.get(where);
    const into = at === undefined ? undefined : drawn[at];
    if (at !== undefined && into !== undefined) {
      drawn[at] = merge(into, one);
      continue;
    }
    if (where !== null) last.set(where, drawn.length);
    drawn.push(one);
  }
  return drawn;
}

/** Marks, each in its row: what would cover another stands below it. */
function rowsOf(moments: Mark[][], x: (mark: Mark) => number): { moments: { marks: Mark[]; row: number }[]; rows: number } {
  const last: number[] = [];
  const placed = moments.map((marks) => {
    const at = marks[0] ? x(marks[0]) : 0;
    const free = last.findIndex((one) => at - one >= MARK);
    const row = free >= 0 ? free : last.length < ROWS ? last.length : last.indexOf(Math.min(...last));
    last[row] = at;
    return { marks, row };
  });
  return { moments: placed, rows: Math.max(1, last.length) };
}

/** What is told of several at once: the first of these that one of them is. */
const WORST = ["failed", "stalled", "timed_out", "rate_limited", "interrupted", "active"];

const MARKS: Record<Mark["what"], string> = { check: "✓", rate_limited: "!", handoff: "→", checkpoint: "‖", resumed: "▸", iteration: "↻", end: "■" };

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400, 604800];

export function Timeline({ outline }: { outline: Outline }) {
  const zoom = useSignal(1);
  const width = useSignal(1000);
  const box = useRef<HTMLDivElement>(null);
  const { session } = outline;
  const isLive = session.status === "active";
  const start = Date.parse(session.started_at);
  const end = Math.max(isLive ? Date.now() : 0, Date.parse(session.ended_at ?? session.last_event_at), start + 1);
  const isEmpty = outline.turns.length === 0;
  useLayoutEffect(() => {
    if (!box.current) return;
    const observer = new ResizeObserver(([entry]) => (width.value = entry?.contentRect.width ?? width.value));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, [isEmpty]);
  const pixel = (end - start) / (Math.max(100, width.value - 24) * zoom.value);
  const { bars, moments, rows, lanes } = useMemo(() => {
    const x = (at: number) => (at - start) / pixel;
    const spans = lanesOf(outline.turns, isLive ? end : Date.parse(session.last_event_at));
    const short = (span: Span) => (span.to - span.from < TOGETHER * pixel ? `${span.lane} ${Math.floor(x(span.from) / TOGETHER)}` : null);
    const xOf = (mark: Mark) => x(Date.parse(mark.at));
    const all = outline.marks.filter((mark) => mark.what !== "end").map((mark) => [mark]);
    const marks = merged(all, ([mark]) => `${mark ? Math.floor(xOf(mark) / MARK) : ""}`, (into, one) => [...into, ...one]);
    return {
      bars: merged(spans, short, (into, one) => ({ ...into, turns: [...into.turns, ...one.turns], to: one.to })),
      ...rowsOf(marks, xOf),
      lanes: spans.reduce((most, span) => Math.max(most, span.lane + 1), 1),
    };
  }, [outline, pixel]);
  const share = (at: number) => `${(100 * (at - start)) / (end - start)}%`;
  const seconds = (end - start) / 1000;
  const step = STEPS.find((one) => seconds / one <= 8 * zoom.value) ?? 2592000;
  const ticks = Array.from({ length: Math.min(200, Math.floor(seconds / step)) }, (_, n) => (n + 1) * step).filter((tick) => tick < seconds * 0.98);
  const change = (by: number) => (zoom.value = Math.max(1, Math.min(64, zoom.value * by)));
  if (isEmpty) return null;
  return (
    <section class="timeline" aria-label="Timeline">
      <div class="zoom">
        <button type="button" class="quiet" aria-label="Zoom in" disabled={zoom.value >= 64} onClick={() => change(2)}>+</button>
        <button type="button" class="quiet" aria-label="Zoom out" disabled={zoom.value <= 1} onClick={() => change(0.5)}>−</button>
      </div>
      <div class="scale" ref={box} tabIndex={0} role="group" aria-label="Turns and marks in time; arrow keys scroll">
        <div class="track" style={{ width: `calc(${100 * zoom.value}% - 24px)`, height: `${lanes * 26 + 22 + rows * 24}px` }}>
          {ticks.map((tick) => <i key={tick} class="tick" style={{ left: share(start + tick * 1000) }}><span>{duration(tick)}</span></i>)}
          {bars.map(({ turns, lane, from, to }) => <Bar key={turns[0]?.turn} turns={turns} top={lane * 26 + 22} left={share(from)} right={`${(100 * (end - to)) / (end - start)}%`} />)}
          {moments.map(({ marks, row }, n) => <Moment key={n} marks={marks} left={share(Date.parse(marks[0]?.at ?? ""))} top={lanes * 26 + 23 + row * 24} />)}
        </div>
      </div>
    </section>
  );
}

function Bar({ turns, top, left, right }: { turns: Turn[]; top: number; left: string; right: string }) {
  const outcomes = turns.map((turn) => turn.outcome ?? "active");
  const worst = WORST.find((one) => outcomes.includes(one)) ?? outcomes[0];
  // Of several, the one to be looked at.
  const turn = turns[Math.max(0, outcomes.indexOf(worst ?? ""))];
  if (!turn || !worst) return null;
  const name = turn.agent || "client";
  const took = turn.duration_secs === null ? "not ended" : duration(turn.duration_secs);
  const several = turns.length > 1 && `${turns.length} turns, ${turns[0]?.turn} to ${turns.at(-1)?.turn}: ${outcomes.filter((one) => one === worst).length} ${word(worst)}`;
  const label = several || `Turn ${turn.turn}, ${name}, ${turn.role}: ${word(worst)}, ${took}, began ${clock(turn.started_at)}`;
  return (
    <A class={`bar ${worst} ${turn.role}`} href={toTurn(turn.turn, "transcript")} title={label} aria-label={label} style={{ top: `${top}px`, left, right }}>
      <span>{turn.turn} {name}</span>
    </A>
  );
}

function Moment({ marks, left, top }: { marks: Mark[]; left: string; top: number }) {
  const mark = marks.find((one) => one.good === false) ?? marks[0];
  if (!mark) return null;
  const failed = mark.good === false;
  const tone = failed ? "bad" : mark.good ? "good" : mark.what;
  const others = marks.length > 1 ? `, and ${marks.length - 1} more here` : "";
  const said = mark.what === "check" ? `check ${failed ? "failed" : "passed"}: ${mark.label}` : mark.what === "rate_limited" ? `rate limited: ${mark.label}` : mark.label;
  const target = mark.what === "iteration" ? { tab: "trail", turn: null } : { turn: mark.turn === null ? null : String(mark.turn), iteration: null, tab: null };
  return (
    <A class={`moment ${tone}`} href={withQuery(target)} title={`${said}, ${moment(mark.at)}${others}`} aria-label={`${said}, ${clock(mark.at)}${others}`} style={{ left, top: `${top}px` }}>
      <span aria-hidden="true">{failed && mark.what === "check" ? "✕" : MARKS[mark.what]}</span>
    </A>
  );
}
