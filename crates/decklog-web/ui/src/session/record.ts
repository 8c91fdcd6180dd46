/** A session as the page knows it: its outline, the steps that were seen, and what comes while it is live. */

import { signal } from "@preact/signals";
import { get } from "../api";
import { follow } from "../live";
import type { Outline, Step } from "../types";
import { parsed } from "../visible";

const PIECE = 60;

export class Record {
  readonly outline = signal<Outline | null>(null);
  readonly error = signal<unknown>(null);
  readonly live = signal(false);
  /** Another number whenever a step is there that was not, or is another. */
  readonly version = signal(0);
  private readonly steps = new Map<number, (Step | undefined)[]>();
  private readonly asked = new Set<string>();
  private stop: () => void = () => {};
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
    this.stop();
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

  /** Follows what is recorded, from a position in the journal on. */
  private follow(after: number): void {
    this.live.value = true;
    this.stop = follow((last) => `/sessions/${this.id}/live?after=${last ?? after}`, {
      on: {
        steps: (data) => {
          for (const [turn, index, step] of parsed<{ steps: [number, number, Step][] }>(data).steps) this.put(turn, index, step, true);
          this.version.value += 1;
        },
        outline: (data) => (this.outline.value = parsed<Outline>(data)),
        end: (data) => {
          this.outline.value = parsed<Outline>(data);
          this.live.value = false;
          this.stop();
        },
      },
    });
  }

  private put(turn: number, index: number, step: Step, isNewer: boolean): void {
    const steps = this.steps.get(turn) ?? [];
    // What an answer says may have been overtaken by what came live.
    if (isNewer || !steps[index]) steps[index] = step;
    this.steps.set(turn, steps);
  }
}
