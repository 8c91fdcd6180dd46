/** Lines of a diff, in one column or side by side. */

import type { DiffRow, Hunk } from "../types";

const CLASSES = { " ": "", "+": "a", "-": "r" } as const;

interface Props {
  hunks: Hunk[];
  path: string;
  numbers?: boolean;
  split?: boolean;
}

export function Lines({ hunks, path, numbers = true, split = false }: Props) {
  return (
    <div class="lines" tabIndex={0} role="group" aria-label={`Changes of ${path || "a file"}`}>
      <table class={`diff${numbers ? "" : " bare"}${split ? " split" : ""}`}>
        {split && <colgroup><col class="n" /><col class="m" /><col /><col class="n" /><col class="m" /><col /></colgroup>}
        {hunks.map((hunk, n) => (
          <tbody key={n}>
            {(numbers || n > 0) && <tr class="h"><td colSpan={split ? 6 : 4}>{hunk.title}</td></tr>}
            {split ? pairs(hunk.rows).map(([before, after], at) => <Pair key={at} before={before} after={after} />) : hunk.rows.map((row, at) => <Line key={at} row={row} numbers={numbers} />)}
          </tbody>
        ))}
      </table>
    </div>
  );
}

function Text({ html }: { html: string }) {
  return <td class="t" dangerouslySetInnerHTML={{ __html: html }} />;
}

function Line({ row: [mark, before, after, html], numbers }: { row: DiffRow; numbers: boolean }) {
  return (
    <tr class={CLASSES[mark]}>
      {numbers && <td class="n">{before || ""}</td>}
      {numbers && <td class="n">{after || ""}</td>}
      <td class="m">{mark}</td>
      <Text html={html} />
    </tr>
  );
}

/** Lines that stand beside each other: what is on both sides, and of a block the first that went with the first that came. */
function pairs(rows: DiffRow[]): [DiffRow | null, DiffRow | null][] {
  const all: [DiffRow | null, DiffRow | null][] = [];
  let gone: DiffRow[] = [];
  let come: DiffRow[] = [];
  const flush = () => {
    for (let n = 0; n < Math.max(gone.length, come.length); n += 1) all.push([gone[n] ?? null, come[n] ?? null]);
    [gone, come] = [[], []];
  };
  for (const row of rows) {
    if (row[0] === "-") {
      if (come.length > 0) flush();
      gone.push(row);
    } else if (row[0] === "+") come.push(row);
    else {
      flush();
      all.push([row, row]);
    }
  }
  flush();
  return all;
}

function Pair({ before, after }: { before: DiffRow | null; after: DiffRow | null }) {
  const isSame = before === after;
  return (
    <tr>
      {before ? <td class="n">{before[1]}</td> : <td class="n none" />}
      <td class={`m ${before && !isSame ? "r" : ""}`}>{before && !isSame ? "-" : ""}</td>
      {before ? <td class={`t ${isSame ? "" : "r"}`} dangerouslySetInnerHTML={{ __html: before[3] }} /> : <td class="t none" />}
      {after ? <td class="n">{after[2]}</td> : <td class="n none" />}
      <td class={`m ${after && !isSame ? "a" : ""}`}>{after && !isSame ? "+" : ""}</td>
      {after ? <td class={`t ${isSame ? "" : "a"}`} dangerouslySetInnerHTML={{ __html: after[3] }} /> : <td class="t none" />}
    </tr>
  );
}
