/** What happens under the session root: a number that changes with it, and how far texts are indexed. */

import { signal } from "@preact/signals";
import { eventsOf } from "./api";

interface Told {
  change: number;
  indexing: { done: number; all: number } | null;
  error: string | null;
}

const told = signal<Told>({ change: -1, indexing: null, error: null });
const gone = signal(false);

function connect(): () => void {
  const source = eventsOf("/live");
  source.addEventListener("root", (event) => {
    told.value = JSON.parse((event as MessageEvent<string>).data) as Told;
    gone.value = false;
  });
  let failures = 0;
  source.onopen = () => {
    failures = 0;
    gone.value = false;
  };
  // It comes back by itself; only when that takes long is there something to tell.
  source.onerror = () => {
    failures += 1;
    gone.value = failures > 2;
  };
  return () => source.close();
}

export const root = { told, gone, connect };
