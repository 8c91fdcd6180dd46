/** A session as the page knows it: its outline, the steps that were seen, and what comes while it is live. */

import { computed, signal } from "@preact/signals";
import { get } from "../api";
import { follow } from "../live";
import type { Outline, Step } from "../types";
import { parsed } from "../visible";

const PIECE = 60;

export class Record {
  readonly outline = signal<Outline | null>(null);
  readonly error = signal<unknown>(null);
  /** How long the journal is, in bytes and in events: more than the outline says while a turn goes on. */
  readonly written = signal({ position: 0, events: 0 });
  /** The number of the turn that is being read. */
  readonly reading = signal(0);
  readonly live = computed(() => this.outline.value?.session.status === "active");
  /** Another number whenever a step is there that was not, or is another. */
  readonly version = signal(0);
  private readonly steps = new Map<number, (Step | undefined)[]>();
  private readonly asked = new Set<string>();
  private stop: () => void = () => {};
  private readonly abort = new AbortController();

  constructor(readonly id: string) {}

  async open(): Promise<void> {
    const outline = await this.ask();
    if (outline) this.follow(outline.position);
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

  /** Asks for the outline; where there is none, that is all that is shown. */
  private async ask(): Promise<Outline | null> {
    try {
      return this.take(await get<Outline>(`/sessions/${this.id}/outline`, this.abort.signal));
    } catch (error) {
      if (!this.abort.signal.aborted) this.error.value = error;
      this.stop();
      return null;
    }
  }

  /** Follows what is recorded from a position in the journal on, now or when it is resumed. */
  private follow(position: number): void {
    const outline = (data: string) => this.take(parsed<Outline>(data));
    this.stop = follow({
      id: this.id,
      position,
      on: {
        steps: (data) => {
          const told = parsed<{ steps: [number, number, Step][]; position: number; events: number }>(data);
          for (const [turn, index, step] of told.steps) this.put(turn, index, step, true);
          this.written.value = told;
          this.version.value += 1;
        },
        outline,
        end: outline,
      },
      refused: () => void this.ask(),
    });
  }

  private take(outline: Outline): Outline {
    this.outline.value = outline;
    this.written.value = { position: outline.position, events: outline.session.events };
    return outline;
  }

  private put(turn: number, index: number, step: Step, isNewer: boolean): void {
    const steps = this.steps.get(turn) ?? [];
    // What an answer says may have been overtaken by what came live.
    if (isNewer || !steps[index]) steps[index] = step;
    this.steps.set(turn, steps);
  }
}
