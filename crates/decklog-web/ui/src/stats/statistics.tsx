/** What sessions add up to: numbers, and charts that lead to the sessions behind them. */

import { useLayoutEffect } from "preact/hooks";
import { useAnswer } from "../asking";
import { ask, get } from "../api";
import { cost, count, duration, percent, plural, short } from "../format";
import { useKeys } from "../keys";
import { Filters } from "../list/filters";
import { exactly, filtersOf } from "../list/sessions";
import { Empty, Trouble } from "../parts";
import { go, place } from "../router";
import type { Charts, Group, Stats } from "../types";
import { Bars, Chart, Columns, Hours, Stacked } from "./charts";

/** Days that are drawn one by one; more are drawn as weeks, and then as months. */
const DAYS = 62;
const WEEKS = 60;

/** What sessions are grouped by here. */
const NAMES = ["agent", "model", "project"] as const;
const GROUPS = [...NAMES, "day", "week", "month"].map((by) => `by=${by}`).join("&");

export function Statistics() {
  const filters = filtersOf(place.value.query).toString();
  useKeys({ Escape: () => go("/") });
  useLayoutEffect(() => {
    document.title = "Statistics · decklog";
  }, []);
  const { told, error } = useAnswer((signal) => Promise.all([ask<Stats>(`/stats?${GROUPS}&${filters}`, signal), get<Charts>(`/charts?${filters}`, signal)]), [filters]);
  const [counted, charts] = told ?? [];
  const stats = counted?.value;
  return (
    <main id="main" class="page stats">
      <h1 class="sr">Statistics</h1>
      <Filters total={stats ? stats.all.sessions : null} unreadable={counted?.unreadable ?? 0} />
      {error !== null && <Trouble error={error} />}
      {stats && stats.all.sessions === 0 && <Empty title="Nothing to count"><p>No session meets the filters.</p></Empty>}
      {stats && charts && stats.all.sessions > 0 && (
        <>
          <Cards all={stats.all} />
          <div class="grid">
            <Times stats={stats} />
            <Chart title="How long sessions took" heads={["Time", "Sessions"]} rows={charts.durations.map((bin) => [span(bin.from, bin.to), count(bin.sessions)])}>
              <Columns values={charts.durations.map((bin) => ({ label: bin.to === undefined ? `>${duration(bin.from)}` : `≤${duration(bin.to)}`, value: bin.sessions, title: `${span(bin.from, bin.to)}: ${plural(bin.sessions, "session")}`, to: { ...(bin.from > 0 && { longer_than: `${bin.from}s` }), ...(bin.to !== undefined && { at_most: `${bin.to}s` }) } }))} />
            </Chart>
            {charts.iterations.some((one) => one > 0) && (
              <Chart title="Iterations of loops" heads={["Iterations", "Sessions"]} rows={charts.iterations.map((value, n) => [iterations(charts, n), count(value)])}>
                <Columns values={charts.iterations.map((value, n) => ({ label: iterations(charts, n), value, title: `${iterations(charts, n)} iterations: ${plural(value, "session")}`, to: { iterations: n + 1 < charts.iterations.length ? String(n + 1) : `${n + 1}..` } }))} />
              </Chart>
            )}
            <Chart title="When sessions begin" heads={["Day", "Hour", "Sessions"]} rows={hoursOf(charts)}>
              <Hours hours={charts.hours} />
            </Chart>
            {NAMES.map((by) => <Groups key={by} by={by} groups={stats.by[by] ?? []} />)}
          </div>
        </>
      )}
    </main>
  );
}

function span(from: number, to: number | undefined): string {
  if (to === undefined) return `longer than ${duration(from)}`;
  return from === 0 ? `up to ${duration(to)}` : `${duration(from)} to ${duration(to)}`;
}

/** In the last place stand those with more, too. */
function iterations(charts: Charts, place: number): string {
  return place + 1 < charts.iterations.length ? String(place + 1) : `${place + 1}+`;
}

const WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

function hoursOf(charts: Charts): string[][] {
  return charts.hours.flatMap((day, n) => day.flatMap((value, hour) => (value ? [[WEEKDAYS[n] ?? "", `${hour}:00`, count(value)]] : [])));
}

function Cards({ all }: { all: Group }) {
  const cards: [string, string, string][] = [
    ["Sessions", count(all.sessions), [all.active && `${all.active} running`, all.checkpointed && `${all.checkpointed} checkpointed`, all.crashed && `${all.crashed} crashed`].filter(Boolean).join(", ")],
    ["Success", all.success_rate === undefined ? "–" : percent(all.success_rate), `${count(all.success)} of ${count(all.completed - (all.unknown ?? 0))} completed${all.unknown ? `, ${count(all.unknown)} more unknown` : ""}`],
    ["Turns", all.turns ? all.turns.mean.toFixed(1) : "–", all.turns ? `median ${all.turns.median}` : ""],
    ["Iterations", all.iterations ? all.iterations.mean.toFixed(1) : "–", all.iterations ? `median ${all.iterations.median}` : "no loops"],
    ["Took", all.duration_secs ? duration(all.duration_secs.median) : "–", all.duration_secs ? `median; mean ${duration(all.duration_secs.mean)}` : ""],
    ["Tokens", short(all.tokens_total.input + all.tokens_total.output), `${short(all.tokens_total.output)} of them out`],
    ["Cost", cost(all.cost_usd_total), all.cost_usd ? `${cost(all.cost_usd.mean)} a session` : "as far as agents told"],
  ];
  return (
    <dl class="cards">
      {cards.map(([title, value, more]) => (
        <div key={title}>
          <dt>{title}</dt>
          <dd><strong>{value}</strong><small>{more}</small></dd>
        </div>
      ))}
    </dl>
  );
}

/** A day, a week or a month as the filters have it: from its first day until before the next's. */
function bounds(key: string): Record<string, string> {
  const iso = (date: Date) => date.toISOString().slice(0, 10);
  const week = /^(\d{4})-W(\d\d)$/.exec(key);
  let from: Date;
  let days = 1;
  if (week) {
    // The week with the fourth of January is the first.
    const fourth = new Date(Date.UTC(Number(week[1]), 0, 4));
    from = new Date(fourth.getTime() + ((Number(week[2]) - 1) * 7 - ((fourth.getUTCDay() + 6) % 7)) * 86_400_000);
    days = 7;
  } else if (/^\d{4}-\d\d$/.test(key)) {
    from = new Date(`${key}-01T00:00:00Z`);
    days = new Date(Date.UTC(from.getUTCFullYear(), from.getUTCMonth() + 1, 0)).getUTCDate();
  } else from = new Date(`${key}T00:00:00Z`);
  return { after: iso(from), before: iso(new Date(from.getTime() + days * 86_400_000)) };
}

function Times({ stats }: { stats: Stats }) {
  const [days, weeks, months] = [stats.by.day ?? [], stats.by.week ?? [], stats.by.month ?? []];
  const groups = days.length <= DAYS ? days : weeks.length <= WEEKS ? weeks : months;
  const rows = groups.map((group) => [group.key, count(group.sessions), count(group.success), count(group.failed), count(group.interrupted), count(group.max_iterations_reached), count(group.crashed), count(group.unknown ?? 0), group.success_rate === undefined ? "" : percent(group.success_rate)]);
  return (
    <Chart title="Sessions over time, and how they came out" wide heads={["When", "Sessions", "Success", "Failed", "Interrupted", "Max iterations", "Crashed", "Unknown", "Success rate"]} rows={rows}>
      <Stacked groups={groups} bounds={bounds} />
    </Chart>
  );
}

function Groups({ by, groups }: { by: "agent" | "model" | "project"; groups: Group[] }) {
  const tokens = (group: Group) => group.tokens_total.input + group.tokens_total.output;
  const shown = groups.filter((group) => group.key).sort((a, b) => b.sessions - a.sessions).slice(0, 10);
  if (shown.length === 0) return null;
  const rows = shown.map((group) => [group.key, count(group.sessions), group.success_rate === undefined ? "" : percent(group.success_rate), short(tokens(group)), cost(group.cost_usd_total)]);
  return (
    <Chart title={`By ${by}`} heads={[by, "Sessions", "Success rate", "Tokens", "Cost"]} rows={rows}>
      <Bars rows={shown.map((group) => ({ label: group.key, to: { [by]: exactly(by, group.key) }, values: [group.sessions, tokens(group), group.cost_usd_total], shown: [count(group.sessions), short(tokens(group)), cost(group.cost_usd_total)] }))} heads={["Sessions", "Tokens", "Cost"]} />
    </Chart>
  );
}
