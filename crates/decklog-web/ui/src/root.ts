/** What happens under the session root: a number that changes with it, and how far texts are indexed. */

import { signal } from "@preact/signals";
import { watch } from "./live";

interface Told {
  change: number;
  /** The change up to which texts can be searched. */
  texts: number;
  indexing: { done: number; all: number } | null;
  error: string | null;
}

/** Times that it does not answer before there is something to tell. */
const MANY = 2;

const told = signal<Told>({ change: -1, texts: -1, indexing: null, error: null });
const gone = signal(false);

function connect(): () => void {
  let failures = 0;
  const root = (data: string) => (told.value = JSON.parse(data) as Told);
  return watch({ root }, (answers) => {
    failures = answers ? 0 : failures + 1;
    gone.value = failures > MANY;
  });
}

export const root = { told, gone, connect };
