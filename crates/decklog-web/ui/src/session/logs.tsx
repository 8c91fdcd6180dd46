/** What lies beside the journal: read here, or downloaded. */

import { useSignal } from "@preact/signals";
import { useAsking } from "../asking";
import { fileUrl, get } from "../api";
import { bytes } from "../format";
import { Icon } from "../icons";
import { Html, Trouble } from "../parts";
import { A, place, withQuery } from "../router";
import type { Outline } from "../types";

interface Log {
  name: string;
  path: string;
  bytes: number;
}

interface Piece {
  html: string;
  next: number;
  more: boolean;
}

/** Files of which the events tab shows more than their text. */
const JOURNAL = "journal.jsonl";

export function Logs({ outline }: { outline: Outline }) {
  const logs = useSignal<Log[]>([]);
  const error = useSignal<unknown>(null);
  const id = outline.session.id;
  useAsking(() => {
    const abort = new AbortController();
    get<Log[]>(`/sessions/${id}/logs`, abort.signal).then(
      (value) => (logs.value = value),
      (why: unknown) => {
        if (!abort.signal.aborted) error.value = why;
      },
    );
    return () => abort.abort();
  }, [outline.position]);
  const open = place.value.query.get("path");
  const shown = logs.value.find((log) => log.path === open) ?? logs.value.find((log) => log.path !== JOURNAL);
  if (error.value !== null) return <Trouble error={error.value} />;
  return (
    <div class="logs">
      <nav aria-label="Files of the session">
        <ul>
          {logs.value.map((log) => (
            <li key={log.path} class={log === shown ? "here" : ""}>
              <A href={withQuery({ path: log.path })}><span class="name">{log.path}</span> <small>{bytes(log.bytes)}</small></A>
              <a class="quiet icon-link" href={fileUrl(id, log.path.replace(/\.zst$/, ""))} download aria-label={`Download ${log.path}`} title="Download"><Icon name="download" /></a>
            </li>
          ))}
        </ul>
      </nav>
      {shown && <Text key={shown.path} id={id} log={shown} />}
    </div>
  );
}

function Text({ id, log }: { id: string; log: Log }) {
  const pieces = useSignal<Piece[]>([]);
  const error = useSignal<unknown>(null);
  const load = async () => {
    const offset = pieces.value.at(-1)?.next ?? 0;
    const name = encodeURIComponent(log.path.split("/").at(-1) ?? log.path);
    try {
      pieces.value = [...pieces.value, await get<Piece>(`/sessions/${id}/logs/${name}?offset=${offset}`)];
    } catch (why) {
      error.value = why;
    }
  };
  useAsking(() => void load(), []);
  const last = pieces.value.at(-1);
  return (
    <div class="log" tabIndex={0} role="region" aria-label={log.path}>
      {error.value !== null && <Trouble error={error.value} />}
      {pieces.value.map((piece, n) => <Html key={n} class="term" html={piece.html} />)}
      {last && last.next === 0 && <p class="soft">It is empty.</p>}
      {last?.more && <button type="button" onClick={() => void load()}>More</button>}
    </div>
  );
}
