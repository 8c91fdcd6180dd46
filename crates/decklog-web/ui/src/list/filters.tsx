/** The filters above the list, each as a menu; those that are set stand beside them as what can be taken away. */

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { get } from "../api";
import { count } from "../format";
import { Icon } from "../icons";
import { Menu, word } from "../parts";
import { go, place, withQuery } from "../router";
import { root } from "../root";
import type { Facet, Facets } from "../types";
import { exactly, FILTERS, filtersOf } from "./sessions";

const OUTCOMES = ["success", "failed", "interrupted", "max_iterations_reached", "crashed", "unknown"];
const STATUSES = ["active", "checkpointed", "completed", "crashed"];
const KINDS = ["run", "shell", "chat", "race", "loop", "mcp", "import"];
const TIMES: [string, string][] = [["today", "Today"], ["1d", "Last 24 hours"], ["7d", "Last 7 days"], ["30d", "Last 30 days"], ["90d", "Last 90 days"]];

const NAMES: Record<string, string> = { after: "since", before: "before", touched: "touched", search: "prompt has", min_cost: "cost at least $", longer_than: "longer than", at_most: "at most", weekday: "on", hour: "in hour" };

export function Filters({ total, unreadable }: { total: number | null; unreadable: number }) {
  const facets = useSignal<Facets | null>(null);
  // Menus offer what there is when they are opened.
  const ask = () => void get<Facets>("/facets").then((value) => (facets.value = value), () => {});
  useEffect(() => {
    if (unreadable > 0) ask();
  }, [unreadable]);
  const set = [...filtersOf(place.value.query)];
  const clear = Object.fromEntries(FILTERS.map((name) => [name, null]));
  const indexing = root.told.value.indexing;
  return (
    <div class="filters">
      <div class="menus">
        <Choice name="outcome" title="Outcome" values={OUTCOMES} />
        <Choice name="status" title="Status" values={STATUSES} />
        <Choice name="kind" title="Kind" values={KINDS} />
        <Choice name="agent" title="Agent" facet={facets.value?.agent} ask={ask} />
        <Choice name="model" title="Model" facet={facets.value?.model} ask={ask} />
        <Choice name="project" title="Project" facet={facets.value?.project} ask={ask} />
        <Times />
        <More />
        {total !== null && <span class="total">{count(total)} {total === 1 ? "session" : "sessions"}</span>}
        {indexing && <span class="total" role="status">indexing texts: {count(indexing.done)} of {count(indexing.all)}</span>}
      </div>
      {set.length > 0 && (
        <ul class="chips" aria-label="Filters that are set">
          {set.map(([name, value]) => (
            <li key={`${name}=${value}`}>
              <button type="button" title="Take this filter away" onClick={() => go(withQuery({ [name]: place.value.query.getAll(name).filter((one) => one !== value), at: null }))}>
                <span>{NAMES[name] ?? name}</span> {word(value)} <Icon name="close" />
              </button>
            </li>
          ))}
          <li><button type="button" class="quiet" onClick={() => go(withQuery({ ...clear, at: null }))}>Clear all</button></li>
        </ul>
      )}
      {unreadable > 0 && (facets.value?.unreadable.length ?? 0) > 0 && <Unreadable facets={facets.value as Facets} />}
    </div>
  );
}

function Choice({ name, title, values, facet, ask }: { name: string; title: string; values?: string[]; facet?: Facet[] | undefined; ask?: () => void }) {
  const chosen = place.value.query.getAll(name);
  const looked = useSignal("");
  const all: Facet[] = facet ?? values?.map((value) => ({ value, sessions: -1 })) ?? [];
  const shown = all.filter(({ value }) => value.toLowerCase().includes(looked.value.toLowerCase()));
  const isChosen = (value: string) => chosen.includes(exactly(name, value));
  const toggle = (of: string) => {
    const value = exactly(name, of);
    const next = chosen.includes(value) ? chosen.filter((one) => one !== value) : [...chosen, value];
    go(withQuery({ [name]: next, at: null }));
  };
  return (
    <Menu label={chosen.length ? `${title} · ${chosen.length}` : title} name={title} active={chosen.length > 0} {...(ask && { onOpen: ask })}>
      {all.length > 8 && <input type="search" placeholder={`Find a ${name}`} aria-label={`Find a ${name}`} onInput={(event) => (looked.value = event.currentTarget.value)} />}
      <ul>
        {shown.slice(0, 60).map(({ value, sessions }) => (
          <li key={value}>
            <label>
              <input type="checkbox" checked={isChosen(value)} onChange={() => toggle(value)} />
              <span>{word(value) || "none"}</span>
              {sessions >= 0 && <small>{count(sessions)}</small>}
            </label>
          </li>
        ))}
        {shown.length === 0 && <li class="none">{all.length ? "None like that" : values || facet ? "None yet" : "…"}</li>}
      </ul>
    </Menu>
  );
}

function Times() {
  const query = place.value.query;
  const [after, before] = [query.get("after") ?? "", query.get("before") ?? ""];
  const set = (changes: Record<string, string | null>) => go(withQuery({ ...changes, at: null }));
  const day = (value: string) => (/^\d{4}-\d\d-\d\d$/.test(value) ? value : "");
  return (
    <Menu label="Date" name="Date" active={Boolean(after || before)}>
      <ul>
        {TIMES.map(([value, title]) => (
          <li key={value}><button type="button" class="plain" aria-pressed={after === value} onClick={() => set({ after: after === value ? null : value, before: null })}>{title}</button></li>
        ))}
      </ul>
      <label class="field">From <input type="date" value={day(after)} onChange={(event) => set({ after: event.currentTarget.value || null })} /></label>
      <label class="field">Until before <input type="date" value={day(before)} onChange={(event) => set({ before: event.currentTarget.value || null })} /></label>
    </Menu>
  );
}

function More() {
  const query = place.value.query;
  const names: [string, string, string][] = [
    ["touched", "Touched a file", "src/**/*.rs"],
    ["search", "Prompt contains", "failing test"],
    ["min_cost", "Cost at least, in dollars", "0.50"],
    ["longer_than", "Took longer than", "10m"],
    ["at_most", "Took at most", "1h"],
    ["iterations", "Iterations", "3, 2..4 or 20.."],
  ];
  const isSet = names.some(([name]) => query.has(name));
  return (
    <Menu label="More" name="More filters" active={isSet}>
      {names.map(([name, title, example]) => (
        <label key={name} class="field">{title}
          <input type="text" value={query.get(name) ?? ""} placeholder={example} spellcheck={false} onChange={(event) => go(withQuery({ [name]: event.currentTarget.value.trim() || null, at: null }))} />
        </label>
      ))}
    </Menu>
  );
}

function Unreadable({ facets }: { facets: Facets }) {
  return (
    <details class="unreadable">
      <summary>{count(facets.unreadable.length)} cannot be read</summary>
      <ul>{facets.unreadable.slice(0, 20).map(({ id, reason }) => <li key={id}><code>{id}</code> {reason}</li>)}</ul>
      <p>Look closer with <code>decklog verify ID</code>; remove one with <code>decklog discard ID</code>.</p>
    </details>
  );
}
