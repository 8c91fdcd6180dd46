/** What a session was, at a glance. */

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { exportUrl } from "../api";
import { cost, count, duration, firstLine, moment, plural, short, when } from "../format";
import { Icon } from "../icons";
import { elapsed } from "../list/columns";
import { Badge, Copy, Menu, standing } from "../parts";
import { A } from "../router";
import type { Outline } from "../types";

/** Files that the session changed, each once, as far as its turns list them. */
export function filesOf({ session, turns }: Outline): number {
  if (turns.some((turn) => turn.files.length < turn.files_changed)) return session.files_changed ?? 0;
  return new Set(turns.flatMap((turn) => turn.files.map((file) => file.path))).size;
}

/** What is told of a session; what is `extra` is folded where there is little room. */
function Fact({ name, extra = false, children }: { name: string; extra?: boolean; children: ComponentChildren }) {
  return (
    <div class={extra ? "extra" : ""}>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

export function Header({ outline, live }: { outline: Outline; live: boolean }) {
  const whole = useSignal(false);
  const head = outline.session;
  const title = firstLine(outline.prompt) || "No prompt";
  const command = `decklog show ${head.id}`;
  const tokens = head.tokens;
  const rate = tokens && tokens.input > 0 ? Math.round((100 * tokens.cached_input) / tokens.input) : 0;
  return (
    <header class="about">
      <div class="title">
        <A href="/" class="back" aria-label="All sessions">←</A>
        <h1 title={outline.prompt.slice(0, 2000)}>{title}</h1>
        <Badge of={standing(head)} />
        {live && <span class="live" role="status">live</span>}
        <Menu label={<><Icon name="download" /> Export</>} name="Export as">
          <ul>
            {[["html", "One HTML page"], ["markdown", "Markdown"], ["jsonl", "JSON lines"], ["atif", "ATIF trajectory"], ["otlp", "OpenTelemetry"], ["tar.zst", "Archive"]].map(([format, name]) => (
              <li key={format}><a class="plain" href={exportUrl([head.id], format ?? "")} download>{name}</a></li>
            ))}
          </ul>
        </Menu>
      </div>
      <dl class={`facts${whole.value ? " whole" : ""}`}>
        <Fact name="Session"><code>{head.id}</code> <Copy text={head.id} label="id" /> <span class="soft">{head.kind}</span></Fact>
        {head.agents && <Fact name={head.agents.length > 1 ? "Agents" : "Agent"}>{head.agents.join(", ")} <span class="soft">{head.models?.join(", ")}</span></Fact>}
        <Fact name="Started"><time dateTime={head.started_at} title={moment(head.started_at)}>{when(head.started_at)}</time>, took {duration(elapsed(head, Date.now()))}</Fact>
        <Fact name="Work">{plural(head.turns, "turn")}{head.iterations ? `, ${plural(head.iterations, "iteration")}` : ""}, {plural(filesOf(outline), "file")} changed</Fact>
        {tokens && <Fact name="Tokens"><span title={`${count(tokens.input)} in, ${count(tokens.cached_input)} of them cached; ${count(tokens.output)} out`}>{short(tokens.input)} in, {short(tokens.output)} out</span>{rate > 0 && <span class="soft"> {rate} % cached</span>}</Fact>}
        {head.cost_usd !== undefined && <Fact name="Cost">{cost(head.cost_usd)}</Fact>}
        <Fact name="Directory" extra><code class="path" title={head.working_dir}><bdi>{head.working_dir}</bdi></code> <Copy text={head.working_dir} label="directory" /></Fact>
        {head.git?.branch && <Fact name="Branch" extra><code>{head.git.branch}</code>{head.git.head && <span class="soft"> {head.git.head.slice(0, 10)}</span>}</Fact>}
        {outline.containers[0] && <Fact name="Container" extra>{outline.containers[0].image_config_name}{outline.containers[0].boxed ? ", agent inside" : ""} <span class="soft">network {outline.containers[0].network}</span></Fact>}
        <Fact name="In a terminal" extra><code>{command}</code> <Copy text={command} label="command" /></Fact>
      </dl>
      <button type="button" class="quiet unfold" aria-expanded={whole.value} onClick={() => (whole.value = !whole.value)}>{whole.value ? "Less" : "More"}</button>
      {head.checkpoint_reason && <p class="note">Stopped: {head.checkpoint_reason}</p>}
      {head.status === "crashed" && <p class="note bad">Its recorder ended without a word; what had been accepted is here. <code>decklog resume {head.id}</code> goes on.</p>}
      {head.recording_failures ? <p class="note bad">The record is incomplete: recording failed {plural(head.recording_failures, "time")}.</p> : null}
      {outline.faults.map((fault) => <p key={fault} class="note bad">journal: {fault}</p>)}
      {outline.notices.map((notice, n) => <p key={n} class="note">{notice.text}</p>)}
    </header>
  );
}
