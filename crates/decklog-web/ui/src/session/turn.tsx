/** How a turn begins and ends. */

import { fileUrl } from "../api";
import { clock, cost, duration, moment, plural, short, when } from "../format";
import { Badge, Html } from "../parts";
import { A, toTurn, withQuery } from "../router";
import type { Check, Outline, Turn } from "../types";

/** Characters, and lines, of a prompt above which it is folded. */
const LONG = 1200;
const LINES = 14;

export function TurnHead({ turn, prompt }: { turn: Turn; prompt: string }) {
  const isLong = prompt.length > LONG || prompt.trim().split("\n", LINES + 1).length > LINES;
  return (
    <section class="turn-head">
      <h2>
        Turn {turn.turn} <span class="who">{turn.agent || "MCP client"}</span>
        {turn.role !== "solo" && <span class="tag">{turn.role}</span>}
        {turn.boxed && <span class="tag">in the container</span>}
        <span class="soft">{[turn.model, turn.permissions].filter(Boolean).join(" · ")}</span>
        <time dateTime={turn.started_at} title={moment(turn.started_at)}>{clock(turn.started_at)}</time>
      </h2>
      {prompt && (isLong ? <details class="asked"><summary>{(prompt.trim().split(/\n\s*\n/, 1)[0] ?? "").slice(0, 240)} …</summary><pre>{prompt}</pre></details> : <pre class="asked">{prompt.trim()}</pre>)}
    </section>
  );
}

export function TurnEnd({ turn, outline, id }: { turn: Turn; outline: Outline; id: string }) {
  const iteration = outline.iterations.find((one) => one.critic_turn === turn.turn || one.actor_turn === turn.turn);
  const [added, removed] = turn.files.reduce<[number, number]>(([plus, minus], file) => [plus + (file.added ?? 0), minus + (file.removed ?? 0)], [0, 0]);
  return (
    <section class="turn-end">
      {turn.rate_limits.map((limit, n) => <p key={n} class="note bad">Rate limited: {limit.message}{limit.resets_at ? `, until ${when(limit.resets_at)}` : ""}</p>)}
      {turn.validations.map((check, n) => <CheckLine key={n} check={check} id={id} />)}
      {turn.error && !turn.rate_limits.some((limit) => limit.message === turn.error) && <p class="note bad">{turn.error}</p>}
      {turn.withheld.map((file) => <p key={file.path} class="note">{file.path} is in no snapshot: {file.reason}</p>)}
      <p class="sum">
        <Badge of={turn.outcome ?? "active"} small />
        {turn.duration_secs !== null && <span>{duration(turn.duration_secs)}</span>}
        {turn.exit_code !== null && turn.exit_code !== 0 && <span>exit {turn.exit_code}</span>}
        {turn.signal !== null && <span>signal {turn.signal}</span>}
        {turn.tools > 0 && <span>{plural(turn.tools, "tool call")}</span>}
        {turn.tokens.input + turn.tokens.output > 0 && <span>{short(turn.tokens.input)} in, {short(turn.tokens.output)} out</span>}
        {turn.cost_usd !== null && <span>{cost(turn.cost_usd)}</span>}
        {turn.files_changed > 0 && (
          <A href={toTurn(turn.turn, "changes")}>{plural(turn.files_changed, "file")} <b class="plus">+{added}</b> <b class="minus">−{removed}</b></A>
        )}
        {iteration && iteration.critic_turn === turn.turn && <A href={withQuery({ tab: "trail", turn: null })}>iteration {iteration.iteration_number}: {iteration.critic_decision}</A>}
      </p>
    </section>
  );
}

export function CheckLine({ check, id }: { check: Check; id: string }) {
  const line = (
    <>
      <Badge of={check.passed ? "success" : "failed"} small says={check.passed ? "passed" : "failed"} /> <code>{check.command}</code>
      <span class="soft">{duration(check.duration_secs)}{check.exit_code ? `, exit ${check.exit_code}` : ""}</span>
    </>
  );
  if (!check.output_html) return <p class="check">{line}</p>;
  return (
    <details class="check" open={!check.passed}>
      <summary>{line}</summary>
      <Html class="term" html={check.output_html} />
      {check.output_artifact && <a class="whole" href={fileUrl(id, check.output_artifact.path)} download>All of its output</a>}
    </details>
  );
}
