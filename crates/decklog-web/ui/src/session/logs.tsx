/** What lies beside the journal: read here, or downloaded. */

import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { useAnswer, useAsking, useSlowly } from "../asking";
import { fileUrl, get } from "../api";
import { bytes } from "../format";
import { Icon } from "../icons";
import { Html, Trouble } from "../parts";
import { A, place, withQuery } from "../router";
import type { Record } from "./record";

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

export function Logs({ record }: { record: Record }) {
  const { id } = record;
  const written = useSlowly(record.written.value.position);
  const { told, error } = useAnswer((signal) => get<Log[]>(`/sessions/${id}/logs`, signal), [written]);
  const logs = told ?? [];
  const open = place.value.query.get("path");
  const shown = logs.find((log) => log.path === open) ?? logs.find((log) => log.path !== JOURNAL);
  if (error !== null) return <Trouble error={error} />;
  return (
    <div class="logs">
      <nav aria-label="Files of the session">
        <ul>
          {logs.map((log) => (
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
  const busy = useRef(false);
  const load = async (kept: Piece[]) => {
    if (busy.current) return;
    busy.current = true;
    const name = encodeURIComponent(log.path.split("/").at(-1) ?? log.path);
    try {
      const piece = await get<Piece>(`/sessions/${id}/logs/${name}?offset=${kept.at(-1)?.next ?? 0}`);
      pieces.value = [...kept, piece];
      error.value = null;
    } catch (why) {
      error.value = why;
    } finally {
      busy.current = false;
    }
  };
  const last = pieces.value.at(-1);
  // While it is written, the last piece grows: it may have ended within a line.
  useAsking(() => {
    if (!last?.more) void load(pieces.value.slice(0, -1));
  }, [log.bytes]);
  return (
    <div class="log" tabIndex={0} role="region" aria-label={log.path}>
      {error.value !== null && <Trouble error={error.value} />}
      {pieces.value.map((piece, n) => <Html key={n} class="term" html={piece.html} />)}
      {last && last.next === 0 && <p class="soft">It is empty.</p>}
      {last?.more && <button type="button" onClick={() => void load(pieces.value)}>More</button>}
    </div>
  );
}
