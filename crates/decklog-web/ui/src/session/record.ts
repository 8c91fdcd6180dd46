/** A session as the page knows it: its outline, the steps that were seen, and what comes while it is live. */

import { signal } from "@preact/signals";
import { eventsOf, get } from "../api";
import type { Outline, Step } from "../types";

const PIECE = 60;

export class Record {
  readonly outline = signal<Outline | null>(null);
  readonly error = signal<unknown>(null);
  readonly live = signal(false);
  /** Another number whenever a step is there that was not, or is another. */
  readonly version = signal(0);
  private readonly steps = new Map<number, (Step | undefined)[]>();
  private readonly asked = new Set<string>();
  private source: EventSource | null = null;
  private readonly abort = new AbortController();

  constructor(readonly id: string) {}

  async open(): Promise<void> {
    try {
      this.outline.value = await get<Outline>(`/sessions/${this.id}/outline`, this.abort.signal);
      if (this.outline.value.session.status === "active") this.follow(this.outline.value.position);
    } catch (error) {
      if (!this.abort.signal.aborted) this.error.value = error;
    }
  }

  close(): void {
    this.abort.abort();
    this.source?.close();
  }

  /** How many steps a turn has, as far as that has been told. */
  count(turn: number, told: number): number {
    return Math.max(told, this.steps.get(turn)?.length ?? 0);
  }

  step(turn: number, index: number): Step | undefined {
    return this.steps.get(turn)?.[index];
  }

  /** Sees to it that a step comes, with those around it. */
  want(turn: number, index: number): void {
    if (this.step(turn, index)) return;
    const from = Math.floor(index / PIECE) * PIECE;
    const key = `${turn}.${from}`;
    if (this.asked.has(key)) return;
    this.asked.add(key);
    get<Step[]>(`/sessions/${this.id}/turns/${turn}/steps?from=${from}&limit=${PIECE}`, this.abort.signal).then(
      (steps) => {
        steps.forEach((step, place) => this.put(turn, from + place, step, false));
        this.version.value += 1;
        // A live turn may have more by now than there was to give.
        if (steps.length < PIECE) this.asked.delete(key);
      },
      () => this.asked.delete(key),
    );
  }

  /** Follows what is recorded, from a position in the journal on. The browser comes back by itself with the last id. */
  private follow(after: number): void {
    this.live.value = true;
    const source = eventsOf(`/sessions/${this.id}/live?after=${after}`);
    this.source = source;
    const read = <T>(event: Event) => JSON.parse((event as MessageEvent<string>).data) as T;
    source.addEventListener("steps", (event) => {
      for (const [turn, index, step] of read<{ steps: [number, number, Step][] }>(event).steps) this.put(turn, index, step, true);
      this.version.value += 1;
    });
    source.addEventListener("outline", (event) => (this.outline.value = read<Outline>(event)));
    source.addEventListener("end", (event) => {
      this.outline.value = read<{ outline: Outline }>(event).outline;
      this.live.value = false;
      source.close();
    });
  }

  private put(turn: number, index: number, step: Step, isNewer: boolean): void {
    const steps = this.steps.get(turn) ?? [];
    // What an answer says may have been overtaken by what came live.
    if (isNewer || !steps[index]) steps[index] = step;
    this.steps.set(turn, steps);
  }
}
