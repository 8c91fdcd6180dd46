/** All sessions: filtered, sorted, searched; the address says how. */

import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { useSlowly } from "../asking";
import { count } from "../format";
import { Empty, Trouble } from "../parts";
import { place } from "../router";
import { root } from "../root";
import { Filters } from "./filters";
import { Hits } from "./hits";
import { Pages } from "./pages";
import { Selection } from "./selection";
import { Table } from "./table";

/** The parts of an address that say which sessions are meant. */
export const FILTERS = ["outcome", "status", "kind", "agent", "model", "project", "after", "before", "touched", "search", "min_cost", "longer_than", "at_most", "iterations", "weekday", "hour"];

/** A value of a filter that means this name and none that holds it. */
export function exactly(filter: string, name: string): string {
  return filter === "model" ? `=${name}` : name;
}

export function filtersOf(query: URLSearchParams): URLSearchParams {
  return new URLSearchParams([...query].filter(([name]) => FILTERS.includes(name)));
}

export function Sessions() {
  const question = useComputed(() => {
    const asked = filtersOf(place.value.query);
    for (const name of ["sort", "order"]) {
      const value = place.value.query.get(name);
      if (value) asked.set(name, value);
    }
    return asked.toString();
  });
  const pages = useMemo(() => new Pages(question.value), [question.value]);
  const selected = useSignal<ReadonlySet<string>>(new Set());
  useEffect(() => {
    document.title = "Sessions · decklog";
    return () => pages.stop();
  }, [pages]);
  // A running session brings several changes in a second.
  const change = useSlowly(root.told.value.change);
  useEffect(() => {
    if (change >= 0 && pages.change >= 0 && change !== pages.change) pages.refresh();
  }, [change, pages]);
  const text = place.value.query.get("q")?.trim();
  const filtered = filtersOf(place.value.query).size > 0;
  return (
    <main id="main" class="sessions">
      <h1 class="sr">Sessions</h1>
      <Filters total={text ? null : pages.total.value} unreadable={pages.unreadable.value} />
      {pages.error.value !== null && <Trouble error={pages.error.value} />}
      {text ? (
        <Hits text={text} />
      ) : pages.total.value === 0 ? (
        <Nothing filtered={filtered} />
      ) : (
        <Table pages={pages} selected={selected} />
      )}
      {selected.value.size > 0 && <Selection selected={selected} onGone={() => pages.refresh()} />}
      <p class="sr" role="status">{pages.total.value === null ? "" : `${count(pages.total.value)} sessions`}</p>
    </main>
  );
}

function Nothing({ filtered }: { filtered: boolean }) {
  if (filtered) return <Empty title="No session meets the filters"><p>Take one away above, or clear them all.</p></Empty>;
  return (
    <Empty title="No sessions yet">
      <p>Every agent that runs through decklog is recorded, and appears here while it works.</p>
      <pre>{'decklog run claude "mend the failing test"'}</pre>
      <p>What Claude, Codex, Gemini and others have already kept can be taken over:</p>
      <pre>decklog import</pre>
    </Empty>
  );
}
