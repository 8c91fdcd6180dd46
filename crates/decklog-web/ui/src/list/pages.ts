/** A long list of which pages are asked for as they are seen, and again when something changed. */

import { signal, type Signal } from "@preact/signals";
import { ask } from "../api";
import type { Head } from "../types";

/** Rows asked for at a time. */
export const PAGE = 100;

/** The sessions that one question gives. */
export class Pages {
  readonly total: Signal<number | null> = signal(null);
  readonly error: Signal<unknown> = signal(null);
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

  /** Sees to it that these rows come. */
  show(first: number, last: number): void {
    this.seen = [Math.floor(first / PAGE), Math.floor(last / PAGE)];
    for (const [page, abort] of this.asked) {
      if (page < this.seen[0] - 1 || page > this.seen[1] + 1) abort.abort();
    }
    for (let page = this.seen[0]; page <= this.seen[1]; page += 1) {
      if (!this.rows.has(page)) void this.load(page);
    }
  }

  /** Asks again for what is seen; what is not is forgotten. */
  refresh(): void {
    for (const page of this.rows.keys()) {
      if (page < this.seen[0] || page > this.seen[1]) this.rows.delete(page);
    }
    for (let page = this.seen[0]; page <= this.seen[1]; page += 1) void this.load(page);
  }

  stop(): void {
    for (const abort of this.asked.values()) abort.abort();
  }

  private async load(page: number): Promise<void> {
    if (this.asked.has(page)) return;
    const abort = new AbortController();
    this.asked.set(page, abort);
    try {
      const answer = await ask<Head[]>(`/sessions?${this.question}&offset=${page * PAGE}&limit=${PAGE}`, abort.signal);
      this.rows.set(page, answer.value);
      this.total.value = answer.total;
      this.error.value = null;
      this.version.value += 1;
    } catch (error) {
      if (!abort.signal.aborted) this.error.value = error;
    } finally {
      this.asked.delete(page);
    }
  }
}
