/** A session: what it was, when what happened, and everything it holds, in tabs. */

import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { useAsking } from "../asking";
import { firstLine } from "../format";
import { useKeys } from "../keys";
import { Trouble } from "../parts";
import { A, go, place, toList, toTurn, withQuery } from "../router";
import type { Outline } from "../types";
import { Changes } from "./changes";
import { Events } from "./events";
import { filesOf, Header } from "./header";
import { Logs } from "./logs";
import { Network } from "./network";
import { Race } from "./race";
import { Record } from "./record";
import { Timeline } from "./timeline";
import { Trail } from "./trail";
import { Transcript } from "./transcript";

const VALID = /^\d{8}T\d{6}-[0-9a-f]{4}$/;

/** The tabs that a session has. */
function tabsOf(outline: Outline): [string, string][] {
  const tabs: [string, string][] = [["transcript", "Transcript"], ["changes", "Changes"]];
  if (outline.iterations.length > 0) tabs.push(["trail", "Critic"]);
  if (outline.session.kind === "race") tabs.push(["race", "Race"]);
  if (outline.containers.length > 0) tabs.push(["network", "Network"]);
  tabs.push(["files", "Files"], ["events", "Events"]);
  return tabs;
}

export function Session({ id }: { id: string }) {
  const record = useMemo(() => new Record(id), [id]);
  useAsking(() => {
    if (VALID.test(id)) void record.open();
    return () => record.close();
  }, [record]);
  const outline = record.outline.value;
  useEffect(() => {
    document.title = outline ? `${firstLine(outline.prompt) || id} · decklog` : "decklog";
  }, [outline?.prompt]);
  if (!VALID.test(id) || record.error.value !== null) {
    const error = record.error.value ?? new Error(`${JSON.stringify(id)} is no session's id`);
    return (
      <main id="main" class="page">
        <Trouble error={error} />
        <p><A href="/">All sessions</A></p>
      </main>
    );
  }
  if (!outline) return <main id="main" class="session" aria-busy="true" />;
  return <Opened record={record} outline={outline} />;
}

function Opened({ record, outline }: { record: Record; outline: Outline }) {
  const query = place.value.query;
  const tabs = tabsOf(outline);
  const tab = tabs.find(([name]) => name === query.get("tab"))?.[0] ?? "transcript";
  const files = useMemo(() => filesOf(outline), [outline]);
  const bar = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    // On a narrow screen not all have room: the one that is open is seen.
    const chosen = bar.current?.querySelector<HTMLElement>("[aria-selected=true]");
    if (bar.current && chosen) bar.current.scrollLeft = chosen.offsetLeft - bar.current.offsetLeft - (bar.current.clientWidth - chosen.offsetWidth) / 2;
  }, [tab]);
  const turns = outline.turns.map((turn) => turn.turn);
  const next = (by: number) => {
    const at = turns.indexOf(tab === "transcript" ? record.reading.peek() : Number(query.get("turn") ?? 0));
    const to = turns[at < 0 ? (by > 0 ? 0 : turns.length - 1) : Math.max(0, Math.min(turns.length - 1, at + by))];
    if (to !== undefined) go(toTurn(to), true);
  };
  useKeys({
    n: () => next(1),
    p: () => next(-1),
    d: () => go(withQuery({ tab: tab === "changes" ? null : "changes" })),
    Escape: toList,
  });
  return (
    <main id="main" class="session">
      <Header outline={outline} live={record.live.value} />
      <Timeline outline={outline} />
      <div class="tabs" ref={bar} role="tablist" aria-label="What to see of the session">
        {tabs.map(([name, title]) => (
          <A key={name} role="tab" aria-selected={name === tab} href={withQuery({ tab: name === "transcript" ? null : name, path: null })}>
            {title}
            {name === "changes" && files > 0 && <small>{files}</small>}
          </A>
        ))}
      </div>
      <div class={`tab ${tab}`} role="tabpanel" aria-label={tabs.find(([name]) => name === tab)?.[1]}>
        {tab === "transcript" && <Transcript record={record} outline={outline} />}
        {tab === "changes" && <Changes outline={outline} />}
        {tab === "trail" && <Trail outline={outline} />}
        {tab === "race" && <Race record={record} outline={outline} />}
        {tab === "network" && <Network record={record} />}
        {tab === "files" && <Logs record={record} />}
        {tab === "events" && <Events record={record} outline={outline} />}
      </div>
    </main>
  );
}
