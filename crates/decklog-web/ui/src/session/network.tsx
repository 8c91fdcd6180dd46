/** Where the session's container connected. */

import { useAnswer, useSlowly } from "../asking";
import { fileUrl, get } from "../api";
import { bytes, clock, count } from "../format";
import { Empty, Trouble } from "../parts";
import type { Place } from "../types";
import type { Record } from "./record";

export function Network({ record }: { record: Record }) {
  const { id } = record;
  const written = useSlowly(record.written.value.position);
  const { told, error } = useAnswer((signal) => get<{ places: Place[] }>(`/sessions/${id}/network`, signal), [written]);
  if (error !== null) return <Trouble error={error} />;
  if (told === null) return null;
  if (told.places.length === 0) return <Empty title="No connection is on record"><p>With <code>--network audit</code> every one is written down, with <code>filter</code> only what is allowed goes out.</p></Empty>;
  return (
    <div class="wide-table" tabIndex={0} role="region" aria-label="Connections by host">
      <table class="plain-table">
        <thead><tr><th>Host</th><th class="numeric">Port</th><th>Protocol</th><th>Action</th><th>Rule</th><th class="numeric">Times</th><th class="numeric">Sent</th><th class="numeric">Received</th><th class="numeric">Last</th></tr></thead>
        <tbody>
          {told.places.map((one, n) => (
            <tr key={n} class={one.action}>
              <td><code>{one.host}</code>{one.claimed && <small> claimed {one.claimed}</small>}</td>
              <td class="numeric">{one.port}</td>
              <td>{one.protocol}{one.service !== "-" && ` · ${one.service}`}</td>
              <td><span class={`action ${one.action}`}>{one.action}</span></td>
              <td>{one.rule}</td>
              <td class="numeric">{count(one.connections)}</td>
              <td class="numeric">{bytes(one.bytes_out)}</td>
              <td class="numeric">{bytes(one.bytes_in)}</td>
              <td class="numeric">{clock(one.last)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p><a href={fileUrl(id, "logs/network.jsonl")} download>Every connection, as Zeek's conn.log has it</a></p>
    </div>
  );
}
