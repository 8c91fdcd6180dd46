/** When what happened, drawn to scale: turns as bars, checks and handoffs as marks. Each part leads to what it stands for. */

import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { clock, duration, moment } from "../format";
import { word } from "../parts";
import { A, withQuery } from "../router";
import type { Mark, Outline, Turn } from "../types";

/** Turns that overlap stand below each other, on as many lanes as are needed. */
function lanesOf(turns: Turn[], now: number): { turn: Turn; lane: number; from: number; to: number }[] {
  const ends: number[] = [];
  return turns.map((turn) => {
    const from = Date.parse(turn.started_at);
    const to = turn.ended_at ? Date.parse(turn.ended_at) : now;
    let lane = ends.findIndex((end) => end <= from);
    if (lane < 0) lane = ends.length;
    ends[lane] = to;
    return { turn, lane, from, to };
  });
}

const MARKS: Record<Mark["what"], string> = { check: "✓", rate_limited: "!", handoff: "→", checkpoint: "‖", resumed: "▸", iteration: "↻", end: "■" };

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400, 604800];

export function Timeline({ outline }: { outline: Outline }) {
  const zoom = useSignal(1);
  const box = useRef<HTMLDivElement>(null);
  const { session } = outline;
  const isLive = session.status === "active";
  const start = Date.parse(session.started_at);
  const end = Math.max(isLive ? Date.now() : 0, Date.parse(session.ended_at ?? session.last_event_at), start + 1);
  const bars = lanesOf(outline.turns, isLive ? end : Date.parse(session.last_event_at));
  const lanes = Math.max(1, ...bars.map((bar) => bar.lane + 1));
  const share = (at: number) => `${(100 * (at - start)) / (end - start)}%`;
  const seconds = (end - start) / 1000;
  const step = STEPS.find((one) => seconds / one <= 8 * zoom.value) ?? 2592000;
  const ticks = Array.from({ length: Math.min(200, Math.floor(seconds / step)) }, (_, n) => (n + 1) * step).filter((tick) => tick < seconds * 0.98);
  const change = (by: number) => (zoom.value = Math.max(1, Math.min(64, zoom.value * by)));
  if (outline.turns.length === 0) return null;
  return (
    <section class="timeline" aria-label="Timeline">
      <div class="zoom">
        <button type="button" class="quiet" aria-label="Zoom in" disabled={zoom.value >= 64} onClick={() => change(2)}>+</button>
        <button type="button" class="quiet" aria-label="Zoom out" disabled={zoom.value <= 1} onClick={() => change(0.5)}>−</button>
      </div>
      <div class="scale" ref={box} tabIndex={0} role="group" aria-label="Turns and marks in time; arrow keys scroll">
        <div class="track" style={{ width: `calc(${100 * zoom.value}% - 24px)`, height: `${lanes * 26 + 46}px` }}>
          {ticks.map((tick) => <i key={tick} class="tick" style={{ left: share(start + tick * 1000) }}><span>{duration(tick)}</span></i>)}
          {bars.map(({ turn, lane, from, to }) => <Bar key={turn.turn} turn={turn} top={lane * 26 + 22} left={share(from)} right={`${(100 * (end - to)) / (end - start)}%`} />)}
          {outline.marks.filter((mark) => mark.what !== "end").map((mark, n) => <Moment key={n} mark={mark} left={share(Date.parse(mark.at))} top={lanes * 26 + 23} />)}
        </div>
      </div>
    </section>
  );
}

function Bar({ turn, top, left, right }: { turn: Turn; top: number; left: string; right: string }) {
  const outcome = turn.outcome ?? "active";
  const name = turn.agent || "client";
  const took = turn.duration_secs === null ? "not ended" : duration(turn.duration_secs);
  const label = `Turn ${turn.turn}, ${name}, ${turn.role}: ${word(outcome)}, ${took}, began ${clock(turn.started_at)}`;
  return (
    <A class={`bar ${outcome} ${turn.role}`} href={withQuery({ turn: String(turn.turn), tab: null })} title={label} aria-label={label} style={{ top: `${top}px`, left, right }}>
      <span>{turn.turn} {name}</span>
    </A>
  );
}

function Moment({ mark, left, top }: { mark: Mark; left: string; top: number }) {
  const failed = mark.good === false;
  const tone = failed ? "bad" : mark.good ? "good" : mark.what;
  const said = mark.what === "check" ? `check ${failed ? "failed" : "passed"}: ${mark.label}` : mark.what === "rate_limited" ? `rate limited: ${mark.label}` : mark.label;
  const target = mark.what === "iteration" ? { tab: "trail", turn: null } : { turn: mark.turn === null ? null : String(mark.turn), tab: null };
  return (
    <A class={`moment ${tone}`} href={withQuery(target)} title={`${said}, ${moment(mark.at)}`} aria-label={`${said}, ${clock(mark.at)}`} style={{ left, top: `${top}px` }}>
      <span aria-hidden="true">{failed && mark.what === "check" ? "✕" : MARKS[mark.what]}</span>
    </A>
  );
}
