/** The lines of one file; a large one comes when it is unfolded. */

import { useSignal } from "@preact/signals";
import { get } from "../api";
import { count } from "../format";
import { Trouble } from "../parts";
import type { ChangedFile, Changes } from "../types";
import { Lines } from "./lines";

/** What stands for a file in the address of a place on the page. */
export function anchor(path: string): string {
  return `file-${path.replace(/[^a-zA-Z0-9]/g, "-")}`;
}

export function FileLines({ file, id, range, split }: { file: ChangedFile; id: string; range: string; split: boolean }) {
  const loaded = useSignal<ChangedFile | null>(null);
  const error = useSignal<unknown>(null);
  const shown = loaded.value ?? file;
  const unfold = (event: Event) => {
    if (!(event.currentTarget as HTMLDetailsElement).open || shown.hunks) return;
    get<Changes>(`/sessions/${id}/changes?${range}&path=${encodeURIComponent(file.path)}`).then(
      (changes) => (loaded.value = changes.files[0] ?? null),
      (why: unknown) => (error.value = why),
    );
  };
  return (
    <details class="file" id={anchor(file.path)} open={file.hunks !== undefined && file.lines > 0} onToggle={unfold}>
      <summary>
        <span class={`status ${file.status}`}>{file.status}</span>
        <code>{file.old_path && <>{file.old_path} → </>}{file.path}</code>
        {file.notes.map((note) => <small key={note}>{note}</small>)}
        <span class="sum"><b class="plus">+{count(file.added)}</b> <b class="minus">−{count(file.removed)}</b></span>
      </summary>
      {error.value !== null && <Trouble error={error.value} />}
      {shown.hunks && shown.hunks.length > 0 && <Lines hunks={shown.hunks} path={file.path} split={split} />}
      {!shown.hunks && file.lines > 0 && <p class="soft coming">{count(file.lines)} lines …</p>}
      {shown.cut && <p class="note">There is more than can be shown here: the patch has all of it.</p>}
    </details>
  );
}
