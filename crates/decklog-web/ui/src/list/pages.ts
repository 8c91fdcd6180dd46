/** A long list of which pages are asked for as they are seen, and again when something changed. */

import { signal, type Signal } from "@preact/signals";
import { ask } from "../api";
import type { Head } from "../types";

/** Rows asked for at a time. */
export const PAGE = 100;

/** How many rows are asked for before they are seen: who scrolls is not shown their places first. */
const AHEAD = 40;

/** The sessions that one question gives. */
export class Pages {
  readonly total: Signal<number | null> = signal(null);
  readonly unreadable: Signal<number> = signal(0);
  readonly error: Signal<unknown> = signal(null);
  /** The change under the root that the last answer is of. */
  change = -1;
  /** Another number whenever a row is there that was not. */
  readonly version = signal(0);
  private readonly rows = new Map<number, Head[]>();
  private readonly asked = new Map<number, AbortController>();
  private seen: [number, number] = [0, 0];

  constructor(readonly question: string) {}

  /** The row at a place, if it has come. */
  at(index: number): Head | undefined {
    return this.rows.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  /** Where the session with this id stands, if it has come. */
  placeOf(id: string): number | undefined {
    for (const [page, heads] of this.rows) {
      const at = heads.findIndex((head) => head.id === id);
      if (at >= 0) return page * PAGE + at;
    }
    return undefined;
  }

  /** Sees to it that these rows come, and those around them. */
  show(first: number, last: number): void {
    const end = Math.min(last + AHEAD, Math.max(last, (this.total.value ?? 0) - 1));
    this.seen = [Math.floor(Math.max(0, first - AHEAD) / PAGE), Math.floor(end / PAGE)];
    for (const [page, abort] of this.asked) {
      if (page < this.seen[0] - 1 || page > this.seen[1] + 1) abort.abort();
    }
    for (let page = this.seen[0]; page <= this.seen[1]; page += 1) {
      if (!this.rows.has(page)) void this.load(page);
    }
  }

  /** Asks again for what is seen; what is not is forgotten, and what is on its way may be too old. */
  refresh(): void {
    this.stop();
    for (const page of this.rows.keys()) {
      if (page < this.seen[0] || page > this.seen[1]) this.rows.delete(page);
    }
    for (let page = this.seen[0]; page <= this.seen[1]; page += 1) void this.load(page);
  }

  stop(): void {
    for (const abort of this.asked.values()) abort.abort();
    this.asked.clear();
  }

  private async load(page: number): Promise<void> {
    if (this.asked.has(page)) return;
    const abort = new AbortController();
    this.asked.set(page, abort);
    try {
      const answer = await ask<Head[]>(`/sessions?${this.question}&offset=${page * PAGE}&limit=${PAGE}`, abort.signal);
      this.rows.set(page, answer.value);
      this.total.value = answer.total;
      this.change = answer.change;
      this.unreadable.value = answer.unreadable;
      this.error.value = null;
      this.version.value += 1;
    } catch (error) {
      if (!abort.signal.aborted) this.error.value = error;
    } finally {
      if (this.asked.get(page) === abort) this.asked.delete(page);
    }
  }
}
