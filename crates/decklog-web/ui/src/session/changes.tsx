/** What a session changed: files as a tree, lines in one column or side by side, of all turns, one turn or one iteration. */

import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { useAnswer } from "../asking";
import { get, patchUrl } from "../api";
import { plural } from "../format";
import { Icon } from "../icons";
import { Empty, Trouble } from "../parts";
import { go, place, withQuery } from "../router";
import type { ChangedFile, Changes as Told, Outline } from "../types";
import { FileLines } from "./file";
import { Tree } from "./tree";

/** What is asked for, as the API has it. */
function rangeOf(query: URLSearchParams): string {
  for (const name of ["iteration", "turn"]) {
    const value = query.get(name);
    if (value) return `${name}=${encodeURIComponent(value)}`;
  }
  return "";
}

export function Changes({ outline }: { outline: Outline }) {
  const { session } = outline;
  const query = place.value.query;
  const range = rangeOf(query);
  // While it is live, what a turn changed is known when the turn is over.
  const over = outline.turns.filter((turn) => turn.outcome !== null).length;
  return <Loaded key={`${range}.${over}`} outline={outline} id={session.id} range={range} />;
}

function Loaded({ outline, id, range }: { outline: Outline; id: string; range: string }) {
  const { told, error } = useAnswer((signal) => get<Told>(`/sessions/${id}/changes?${range}`, signal), []);
  const split = useSignal(innerWidth > 1200);
  const files = told?.files ?? [];
  const sum = useMemo(() => files.reduce<[number, number]>(([plus, minus], file) => [plus + file.added, minus + file.removed], [0, 0]), [files]);
  return (
    <div class="changes">
      <div class="bar-of">
        <Range outline={outline} />
        {told && <span class="sum">{plural(files.length, "file")} <b class="plus">+{sum[0]}</b> <b class="minus">−{sum[1]}</b></span>}
        <span class="end">
          <button type="button" class="narrow-off" aria-pressed={split.value} onClick={() => (split.value = !split.value)}>Side by side</button>
          {files.length > 0 && <a class="button" href={patchUrl(id, range)} download><Icon name="download" /> Patch</a>}
        </span>
      </div>
      {error !== null && <Trouble error={error} />}
      {!told && error === null && <div class="card coming" aria-busy="true" />}
      {told?.missing && <Empty title="Nothing to compare"><p>{told.missing}</p></Empty>}
      {told && !told.missing && files.length === 0 && <Empty title="Nothing changed"><p>No file is another than before.</p></Empty>}
      {told?.cut && <p class="note">It is too large to be shown whole: the patch has all of it.</p>}
      {files.length > 0 && <Files files={files} id={id} range={range} split={split.value} />}
    </div>
  );
}

function Files({ files, id, range, split }: { files: ChangedFile[]; id: string; range: string; split: boolean }) {
  return (
    <div class={`files${files.length > 1 ? " with-tree" : ""}`}>
      {files.length > 1 && <Tree files={files} />}
      <div class="lot">
        {files.map((file) => <FileLines key={file.path} file={file} id={id} range={range} split={split} />)}
      </div>
    </div>
  );
}

function Range({ outline }: { outline: Outline }) {
  const query = place.value.query;
  const iteration = query.get("iteration");
  const chosen = iteration ? `iteration=${iteration}` : query.get("turn") ? `turn=${query.get("turn")}` : "";
  const changed = outline.turns.filter((turn) => turn.files_changed > 0 || `turn=${turn.turn}` === chosen);
  const choose = (value: string) => {
    const [name, number] = value.split("=");
    go(withQuery({ turn: null, iteration: null, ...(name ? { [name]: number ?? null } : {}) }));
  };
  return (
    <label class="field inline">Changes of
      <select value={chosen} onChange={(event) => choose(event.currentTarget.value)}>
        <option value="">the whole session</option>
        {outline.iterations.map((one) => <option key={one.iteration_number} value={`iteration=${one.iteration_number}`}>iteration {one.iteration_number}</option>)}
        {changed.map((turn) => <option key={turn.turn} value={`turn=${turn.turn}`}>turn {turn.turn}, {turn.agent || "client"}</option>)}
      </select>
    </label>
  );
}
