/** What can be done with the sessions that are selected. */

import { type Signal, useSignal } from "@preact/signals";
import { type Discarded, discard, exportUrl } from "../api";
import { plural } from "../format";
import { Icon } from "../icons";
import { Confirm, Menu, Trouble } from "../parts";
import { go } from "../router";

const FORMATS: [string, string, boolean][] = [
  ["tar.zst", "Archive that decklog can import", true],
  ["jsonl", "JSON lines", true],
  ["otlp", "OpenTelemetry", true],
  ["markdown", "Markdown", false],
  ["html", "One HTML page", false],
  ["atif", "ATIF trajectory", false],
];

export function Selection({ selected, onGone }: { selected: Signal<ReadonlySet<string>>; onGone: () => void }) {
  const asking = useSignal(false);
  const came = useSignal<Discarded | null>(null);
  const error = useSignal<unknown>(null);
  const ids = [...selected.value].sort();
  const remove = async () => {
    asking.value = false;
    try {
      came.value = await discard(ids);
      // Those that could not be removed stay selected.
      selected.value = new Set(came.value.failed.map(({ id }) => id));
      onGone();
    } catch (why) {
      error.value = why;
    }
  };
  return (
    <div class="selection" role="region" aria-label="Selected sessions">
      <strong>{plural(ids.length, "session")} selected</strong>
      <button type="button" disabled={ids.length < 2 || ids.length > 4} title="Two to four sessions beside each other" onClick={() => go(`/compare?${ids.map((id) => `id=${id}`).join("&")}`)}><Icon name="compare" /> Compare</button>
      <Menu label={<><Icon name="download" /> Export</>} name="Export as">
        <ul>
          {FORMATS.filter(([, , several]) => several || ids.length === 1).map(([format, title]) => (
            <li key={format}><a class="plain" href={exportUrl(ids, format)} download>{title}</a></li>
          ))}
        </ul>
      </Menu>
      <button type="button" class="danger" onClick={() => (asking.value = true)}><Icon name="trash" /> Discard…</button>
      <button type="button" class="quiet" onClick={() => (selected.value = new Set())}>Clear</button>
      {came.value && came.value.failed.length > 0 && (
        <div class="trouble" role="alert">
          {came.value.failed.map(({ id, error: why }) => <p key={id}><code>{id}</code> was not discarded: {why}</p>)}
        </div>
      )}
      {error.value !== null && <Trouble error={error.value} />}
      {asking.value && (
        <Confirm title={`Discard ${plural(ids.length, "session")}?`} verb="Discard" onYes={remove} onNo={() => (asking.value = false)}>
          <p>Their record is removed from this machine and cannot be brought back. What decklog did not make is left; what is being recorded is refused.</p>
          <ul class="ids">{ids.slice(0, 8).map((id) => <li key={id}><code>{id}</code></li>)}{ids.length > 8 && <li>and {ids.length - 8} more</li>}</ul>
        </Confirm>
      )}
    </div>
  );
}
