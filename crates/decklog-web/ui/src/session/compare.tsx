/** Sessions beside each other. */

import type { ComponentChildren } from "preact";
import { useLayoutEffect } from "preact/hooks";
import { useAnswer } from "../asking";
import { get } from "../api";
import { cost, duration, plural, short, when } from "../format";
import { useKeys } from "../keys";
import { elapsed } from "../list/columns";
import { Badge, Empty, standing, Trouble } from "../parts";
import { A, place } from "../router";
import type { Outline } from "../types";

/** What is compared, line by line. */
const LINES: [string, (outline: Outline) => ComponentChildren][] = [
  ["Outcome", ({ session }) => <Badge of={standing(session)} small />],
  ["Kind", ({ session }) => session.kind],
  ["Agents", ({ session }) => session.agents?.join(", ")],
  ["Models", ({ session }) => session.models?.join(", ")],
  ["Started", ({ session }) => when(session.started_at)],
  ["Took", ({ session }) => duration(elapsed(session, Date.now()))],
  ["Turns", ({ session }) => session.turns],
  ["Iterations", ({ session }) => session.iterations],
  ["Tool calls", ({ turns }) => turns.reduce((sum, turn) => sum + turn.tools, 0)],
  ["Checks", ({ turns }) => {
    const checks = turns.flatMap((turn) => turn.validations);
    if (checks.length === 0) return null;
    return <span class="badges">{checks.map((check, n) => <Badge key={n} of={check.passed ? "success" : "failed"} small says={check.passed ? "passed" : "failed"} />)}</span>;
  }],
  ["Tokens", ({ session }) => session.tokens && `${short(session.tokens.input)} in, ${short(session.tokens.output)} out`],
  ["Cost", ({ session }) => session.cost_usd !== undefined && cost(session.cost_usd)],
  ["Directory", ({ session }) => <code>{session.working_dir}</code>],
];

export function Compare() {
  const ids = place.value.query.getAll("id").slice(0, 4);
  useKeys({ Escape: () => history.back() });
  useLayoutEffect(() => {
    document.title = "Compare · decklog";
  }, []);
  const { told, error } = useAnswer((signal) => Promise.all(ids.map((id) => get<Outline>(`/sessions/${encodeURIComponent(id)}/outline`, signal))), [ids.join()]);
  if (error !== null) return <main id="main" class="page"><Trouble error={error} /></main>;
  if (ids.length < 2) return <main id="main" class="page"><Empty title="Nothing to compare"><p>Select two to four sessions in <A href="/">the list</A>.</p></Empty></main>;
  const all = told ?? [];
  const paths = [...new Set(all.flatMap((one) => one.turns.flatMap((turn) => turn.files.map((file) => file.path))))].sort();
  const same = new Set(all.map((one) => one.prompt)).size === 1;
  return (
    <main id="main" class="page compare">
      <h1>{plural(ids.length, "session")} compared</h1>
      {all.length > 0 && same && <pre class="asked">{all[0]?.prompt}</pre>}
      <div class="wide-table" tabIndex={0} role="region" aria-label="Comparison">
        <table class="plain-table">
          <thead>
            <tr><th scope="col"><span class="sr">What</span></th>{all.map(({ session }) => <th key={session.id} scope="col"><A href={`/s/${session.id}`}>{session.id}</A></th>)}</tr>
          </thead>
          <tbody>
            {!same && <tr><th scope="row">Prompt</th>{all.map((one) => <td key={one.session.id} class="asked">{one.prompt.slice(0, 600)}</td>)}</tr>}
            {LINES.filter(([, cell]) => all.some((one) => cell(one))).map(([title, cell]) => <tr key={title}><th scope="row">{title}</th>{all.map((one) => <td key={one.session.id}>{cell(one)}</td>)}</tr>)}
            {paths.map((path) => (
              <tr key={path} class="path">
                <th scope="row"><code>{path}</code></th>
                {all.map((one) => <td key={one.session.id}><Counts outline={one} path={path} /></td>)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </main>
  );
}

function Counts({ outline, path }: { outline: Outline; path: string }) {
  const files = outline.turns.flatMap((turn) => turn.files).filter((file) => file.path === path);
  if (files.length === 0) return <span class="soft">untouched</span>;
  const [added, removed] = files.reduce<[number, number]>(([plus, minus], file) => [plus + (file.added ?? 0), minus + (file.removed ?? 0)], [0, 0]);
  return <><b class="plus">+{added}</b> <b class="minus">−{removed}</b></>;
}
