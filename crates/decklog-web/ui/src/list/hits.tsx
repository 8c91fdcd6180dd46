/** What a search found: turns, with the piece of text that holds the words. */

import { type Signal, useSignal } from "@preact/signals";
import { useAsking, useSlowly } from "../asking";
import { ask, type Answer } from "../api";
import { count, firstLine, when } from "../format";
import { useKeys } from "../keys";
import { Badge, Empty, standing, Trouble } from "../parts";
import { A, go, place } from "../router";
import { root } from "../root";
import type { Hit } from "../types";
import { filtersOf } from "./sessions";

type Found = Answer<Hit[]> & { text: string };

export function Hits({ text }: { text: string }) {
  const found = useSignal<Found | null>(null);
  const error = useSignal<unknown>(null);
  const at = useSignal(-1);
  const filters = filtersOf(place.value.query).toString();
  const { texts, indexing } = root.told.value;
  const again = useSlowly(`${texts} ${indexing?.done ?? ""}`);
  useAsking(() => {
    const abort = new AbortController();
    ask<Hit[]>(`/search?q=${encodeURIComponent(text)}&typed=true&${filters}`, abort.signal).then(
      (answer) => {
        // The same question asked again: one stays at what one was at.
        const here = found.value?.text === text ? found.value.value[at.value] : undefined;
        found.value = { ...answer, text };
        error.value = null;
        at.value = here ? answer.value.findIndex((hit) => hit.id === here.id && hit.turn === here.turn) : -1;
      },
      (why: unknown) => {
        if (!abort.signal.aborted) error.value = why;
      },
    );
    return () => abort.abort();
  }, [text, filters, again]);
  const hits = found.value?.value ?? [];
  const move = (by: number) => {
    at.value = Math.max(0, Math.min(hits.length - 1, at.value + by));
    const hit = document.getElementById(`hit-${at.value}`);
    hit?.scrollIntoView({ block: "nearest" });
    hit?.querySelector("a")?.focus({ preventScroll: true });
  };
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    Enter: () => {
      const hit = hits[Math.max(0, at.value)];
      if (hit) go(link(hit));
    },
    Escape: () => history.back(),
  });
  if (error.value !== null) return <Trouble error={error.value} />;
  if (found.value === null) return <div class="hits" aria-busy="true" />;
  if (hits.length === 0) {
    return (
      <Empty title="Nothing found" found={found.value.text}>
        <p>Every word must be in one turn. A word is found whole, or by its beginning while you type.</p>
        <p><code>"in this order"</code> · <code>-without</code> · <code>file:auth.rs</code> · <code>tool:bash</code></p>
        {root.told.value.texts !== root.told.value.change && <p>Texts are still being indexed: there may be more in a moment.</p>}
      </Empty>
    );
  }
  return <List found={found as Signal<Found>} at={at} />;
}

function link(hit: Hit): string {
  return `/s/${hit.id}${hit.turn ? `?turn=${hit.turn}` : ""}`;
}

/** It is another when something else was found, and not with every letter that is typed. */
function List({ found, at }: { found: Signal<Found>; at: Signal<number> }) {
  const { value: hits, total, text } = found.value;
  return (
    <div class="hits" tabIndex={-1} data-found={text}>
      <p class="sum">{total > hits.length ? `The best ${count(hits.length)} of ${count(total)}` : count(hits.length)} found</p>
      <ol>
        {hits.map((hit, index) => (
          <li key={`${hit.id}-${hit.turn}`} id={`hit-${index}`} class={index === at.value ? "here" : ""}>
            <A href={link(hit)}>
              <span class="line">
                {hit.session && <Badge of={standing(hit.session)} small />}
                <strong>{firstLine(hit.session?.prompt ?? "") || hit.id}</strong>
                <span class="about">{hit.session?.agents?.join(", ")} · {hit.session?.project} · {hit.turn ? `turn ${hit.turn} · ` : ""}{when(hit.at)}</span>
              </span>
              <span class="excerpt"><span class="field">{hit.field}</span> <Marked text={hit.excerpt} marks={hit.marks} /></span>
            </A>
          </li>
        ))}
      </ol>
    </div>
  );
}

function Marked({ text, marks }: { text: string; marks: [number, number][] }) {
  const characters = [...text];
  const pieces = [];
  let from = 0;
  for (const [start, end] of marks) {
    pieces.push(characters.slice(from, start).join(""), <mark key={start}>{characters.slice(start, end).join("")}</mark>);
    from = end;
  }
  pieces.push(characters.slice(from).join(""));
  return <span>{pieces}</span>;
}
