/** Charts, drawn as shapes that are links: to be clicked, and to be reached by keyboard. */

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { dayOf, percent, plural } from "../format";
import { A, place } from "../router";
import { filtersOf } from "../list/sessions";
import type { Group } from "../types";

const SECONDS: { [unit: string]: number } = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

function seconds(text: string): number {
  const [, number, unit] = /^(\d+)([smhdw])$/.exec(text) ?? [];
  return Number(number) * (SECONDS[unit ?? ""] ?? NaN);
}

/** The moment that a date, a time or an age means; NaN for what is none of these. */
function instant(text: string): number {
  const ago = seconds(text) * 1000;
  return Number.isNaN(ago) ? Date.parse(text.length === 10 ? `${text}T00:00` : text) : Date.now() - ago;
}

/** Of two bounds the one that takes less: a chart counts what the filters take, and a part of it is no more than that. */
function narrower(name: string, set: string | null, value: string): string {
  if (set === null) return value;
  if (name === "after") return instant(set) > instant(value) ? set : value;
  if (name === "before") return instant(set) < instant(value) ? set : value;
  if (name === "longer_than") return seconds(set) > seconds(value) ? set : value;
  if (name === "at_most") return seconds(set) < seconds(value) ? set : value;
  return value;
}

/** The list, with the filters that are set and these besides. */
function listOf(to: Record<string, string>): string {
  const query = filtersOf(place.value.query);
  for (const [name, value] of Object.entries(to)) query.set(name, narrower(name, query.get(name), value));
  return `/${query.size ? `?${query}` : ""}`;
}

interface ChartProps {
  title: string;
  heads: string[];
  rows: string[][];
  wide?: boolean;
  children: ComponentChildren;
}

/** A chart, or the table of what it shows. */
export function Chart({ title, heads, rows, wide = false, children }: ChartProps) {
  const asTable = useSignal(false);
  return (
    <section class={`chart${wide ? " wide" : ""}`} aria-label={title}>
      <header>
        <h2>{title}</h2>
        <button type="button" class="quiet" aria-pressed={asTable.value} onClick={() => (asTable.value = !asTable.value)}>Table</button>
      </header>
      {asTable.value ? (
        <div class="wide-table" tabIndex={0} role="region" aria-label={`${title}, as a table`}>
          <table class="plain-table">
            <thead><tr>{heads.map((head, n) => <th key={head} class={n ? "numeric" : ""}>{head}</th>)}</tr></thead>
            <tbody>{rows.map((row, n) => <tr key={n}>{row.map((cell, at) => <td key={at} class={at ? "numeric" : ""}>{cell}</td>)}</tr>)}</tbody>
          </table>
        </div>
      ) : children}
    </section>
  );
}

const PARTS = ["success", "max_iterations_reached", "interrupted", "failed", "crashed", "unknown", "open"] as const;

/** Columns of what came out, one above the other, with the rate of success as a line. */
export function Stacked({ groups, bounds }: { groups: Group[]; bounds: (key: string) => Record<string, string> }) {
  const most = Math.max(1, ...groups.map((group) => group.sessions));
  const partsOf = (group: Group): [string, number][] => PARTS.map((part) => [part, part === "open" ? group.active + group.checkpointed : (group[part] ?? 0)]);
  const every = Math.ceil(groups.length / 8);
  const width = 100 / groups.length;
  const points = groups.flatMap((group, n) => (group.success_rate === undefined ? [] : [`${(n + 0.5) * width},${100 - group.success_rate * 100}`]));
  return (
    <>
      <div class="stacked" style={{ gridTemplateColumns: `repeat(${groups.length}, 1fr)` }}>
        {points.length > 1 && <svg class="rate" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true"><polyline points={points.join(" ")} /></svg>}
        {groups.map((group) => {
          const rate = group.success_rate === undefined ? "" : `, ${percent(group.success_rate)} success`;
          const title = `${group.key}: ${plural(group.sessions, "session")}${rate}`;
          return (
            <A key={group.key} class="column" href={listOf(bounds(group.key))} title={title} aria-label={title}>
              {partsOf(group).map(([part, value]) => value > 0 && <i key={part} class={part} style={{ height: `${(100 * value) / most}%` }} />)}
            </A>
          );
        })}
      </div>
      <div class="axis" aria-hidden="true" style={{ gridTemplateColumns: `repeat(${groups.length}, minmax(0, 1fr))` }}>
        {groups.map((group, n) => n % every === 0 && <span key={group.key} class={every === 1 ? "few" : ""} style={{ gridColumn: n + 1 }}>{dayOf(group.key)}</span>)}
      </div>
      <p class="legend">{[["success", "success"], ["max_iterations_reached", "max iterations"], ["interrupted", "interrupted"], ["failed", "failed"], ["crashed", "crashed"], ...(groups.some((group) => group.unknown) ? [["unknown", "unknown"]] : []), ["rate", "success rate"]].map(([part, name]) => <span key={part}><i class={part} />{name}</span>)}</p>
    </>
  );
}

interface Column {
  label: string;
  value: number;
  title: string;
  to: Record<string, string>;
}

export function Columns({ values }: { values: Column[] }) {
  const most = Math.max(1, ...values.map((one) => one.value));
  return (
    <div class="columns" style={{ gridTemplateColumns: `repeat(${values.length}, 1fr)` }}>
      {values.map((one) => (
        <A key={one.label} class="column" href={listOf(one.to)} title={one.title} aria-label={one.title}>
          <i class={one.value ? "" : "none"} style={{ height: `${(100 * one.value) / most}%` }} />
          <span aria-hidden="true">{one.label}</span>
        </A>
      ))}
    </div>
  );
}

const DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/** Hours of the week: the darker, the more. */
export function Hours({ hours }: { hours: number[][] }) {
  const most = Math.max(1, ...hours.flat());
  return (
    <div class="hours" role="group" aria-label="Sessions by weekday and hour">
      {hours.map((day, n) => (
        <div key={n} class="day">
          <span>{DAYS[n]}</span>
          {day.map((value, hour) => {
            const title = `${DAYS[n]} ${hour}:00: ${plural(value, "session")}`;
            if (value === 0) return <i key={hour} class="heat0" title={title} />;
            return <A key={hour} class={`heat${Math.ceil((4 * value) / most)}`} title={title} aria-label={title} href={listOf({ weekday: (DAYS[n] ?? "").toLowerCase(), hour: String(hour) })} />;
          })}
        </div>
      ))}
      <div class="day axis"><span />{[0, 6, 12, 18].map((hour) => <b key={hour}>{hour}:00</b>)}</div>
    </div>
  );
}

interface Bar {
  label: string;
  to: Record<string, string>;
  values: number[];
  shown: string[];
}

/** Names with several measures beside each. */
export function Bars({ rows, heads }: { rows: Bar[]; heads: string[] }) {
  const most = heads.map((_, n) => Math.max(1e-9, ...rows.map((row) => row.values[n] ?? 0)));
  return (
    <table class="bars">
      <thead><tr><th scope="col"><span class="sr">Name</span></th>{heads.map((head) => <th key={head} scope="col">{head}</th>)}</tr></thead>
      <tbody>
        {rows.map((row) => (
          <tr key={row.label}>
            <th scope="row"><A href={listOf(row.to)}>{row.label}</A></th>
            {row.values.map((value, n) => <td key={n}><span class="measure"><i style={{ width: `${(100 * value) / (most[n] ?? 1)}%` }} /></span><span>{row.shown[n]}</span></td>)}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
