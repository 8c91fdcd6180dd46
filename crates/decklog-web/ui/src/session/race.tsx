/** A race: each racer's turn in a column of its own. */

import { duration, plural } from "../format";
import { Badge } from "../parts";
import { A, toTurn } from "../router";
import type { Outline } from "../types";
import type { Record } from "./record";
import { Transcript } from "./transcript";

export function Race({ record, outline }: { record: Record; outline: Outline }) {
  const racers = outline.turns.filter((turn) => turn.role === "racer");
  return (
    <div class="race">
      {racers.map((turn) => (
        <section key={turn.turn} class={turn.turn === outline.picked ? "picked" : ""} aria-label={`${turn.agent}, turn ${turn.turn}`}>
          <header>
            <h2>{turn.agent}</h2>
            {turn.turn === outline.picked && <span class="tag">picked</span>}
            <Badge of={turn.outcome ?? "active"} small />
            <span class="soft">
              {turn.duration_secs !== null && `${duration(turn.duration_secs)} · `}
              <A href={toTurn(turn.turn, "changes")}>{plural(turn.files_changed, "file")}</A>
            </span>
          </header>
          <Transcript record={record} outline={outline} only={turn.turn} />
        </section>
      ))}
    </div>
  );
}
