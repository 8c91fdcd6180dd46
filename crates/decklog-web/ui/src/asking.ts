/** What the server is asked for, and what it answers. */

import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";

/** How often is asked again at most while something changes, in milliseconds. */
export const PAUSE = 700;

/** An effect that asks the server: at once, where `useEffect` waits until what is there already has been drawn. */
export const useAsking = useLayoutEffect;

/** What came of a question: nothing yet, an answer, or why there is none. */
export interface Told<T> {
  told: T | null;
  error: unknown;
}

/** Asks when one of `on` is another. What was told stands until the next answer. */
export function useAnswer<T>(question: (signal: AbortSignal) => Promise<T>, on: unknown[]): Told<T> {
  const state = useSignal<Told<T>>({ told: null, error: null });
  useAsking(() => {
    const abort = new AbortController();
    question(abort.signal).then(
      (told) => (state.value = { told, error: null }),
      (error: unknown) => {
        if (!abort.signal.aborted) state.value = { told: null, error };
      },
    );
    return () => abort.abort();
  }, on);
  return state.value;
}

/** A value that changes often, as it is now and then. */
export function useSlowly<T>(value: T): T {
  const shown = useSignal(value);
  const newest = useRef(value);
  const due = useRef(0);
  newest.current = value;
  useEffect(() => {
    if (shown.value === value || due.current) return;
    due.current = window.setTimeout(() => {
      due.current = 0;
      shown.value = newest.current;
    }, PAUSE);
  }, [value, shown.value]);
  useEffect(() => () => clearTimeout(due.current), []);
  return shown.value;
}
