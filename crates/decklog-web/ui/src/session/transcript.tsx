/** What was said and done, turn by turn; of a long one only what is seen exists. */

import { useSignal } from "@preact/signals";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { useAsking } from "../asking";
import { Badge } from "../parts";
import { A, go, place, toTurn, withQuery } from "../router";
import type { Outline, Turn } from "../types";
import { useVirtual } from "../virtual";
import { Card } from "./card";
import type { Record } from "./record";
import { TurnEnd, TurnHead } from "./turn";

/** A line of the list: the head of a turn, one of its steps, or its end. */
interface Place {
  turn: Turn;
  step: number;
}

const HEAD = -1;
const END = -2;

/** How near the end one must be to be kept there, in pixels. */
const NEAR = 80;

/** How much of what is above may still be seen, in pixels. */
const EDGE = 8;

function placesOf(record: Record, turns: Turn[]): { places: Place[]; begins: Map<number, number> } {
  const places: Place[] = [];
  const begins = new Map<number, number>();
  for (const turn of turns) {
    begins.set(turn.turn, places.length);
    places.push({ turn, step: HEAD });
    for (let step = 0; step < record.count(turn.turn, turn.steps); step += 1) places.push({ turn, step });
    places.push({ turn, step: END });
  }
  return { places, begins };
}

export function Transcript({ record, outline, only }: { record: Record; outline: Outline; only?: number }) {
  const box = useRef<HTMLDivElement>(null);
  const version = record.version.value;
  const turns = useMemo(() => (only === undefined ? outline.turns : outline.turns.filter((turn) => turn.turn === only)), [outline.turns, only]);
  const { places, begins } = useMemo(() => placesOf(record, turns), [record, turns, version]);
  const list = useVirtual({
    count: places.length,
    getScrollElement: () => box.current,
    estimateSize: (index) => ((places[index]?.step ?? 0) < 0 ? 64 : 96),
    overscan: 6,
    // Another function makes the list forget what it has measured.
    getItemKey: useCallback((index: number) => `${places[index]?.turn.turn}.${places[index]?.step}`, [places]),
  });
  const items = list.getVirtualItems();
  useAsking(() => {
    for (const { index } of items) {
      const seen = places[index];
      if (seen && seen.step >= 0) record.want(seen.turn.turn, seen.step);
    }
  });
  const asked = Number(place.value.query.get("turn") ?? 0);
  const reads = (turn: number | undefined) => {
    if (turn !== undefined && only === undefined) record.reading.value = turn;
  };
  const top = places[list.getVirtualItemForOffset((list.scrollOffset ?? 0) + EDGE)?.index ?? 0]?.turn.turn;
  useLayoutEffect(() => reads(top), [top]);
  // Also when it is asked for once more, after one has scrolled elsewhere.
  useLayoutEffect(() => reads(begins.has(asked) ? asked : undefined), [place.value]);
  useEffect(() => {
    const index = begins.get(asked);
    if (index !== undefined && only === undefined) list.scrollToIndex(index, { align: "start" });
  }, [place.value, only]);
  const follows = useSignal(true);
  const scrolled = () => {
    const element = box.current;
    if (element) follows.value = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR;
  };
  useEffect(() => {
    // It may be resumed: who then sees its end follows that.
    if (!record.live.value) scrolled();
  });
  useEffect(() => {
    if (record.live.value && follows.peek() && !asked) list.scrollToIndex(places.length - 1, { align: "end" });
  }, [record.version.value, places.length, record.live.value]);
  const toEnd = () => {
    follows.value = true;
    if (asked) go(withQuery({ turn: null }), true);
    list.scrollToIndex(places.length - 1, { align: "end" });
  };
  const first = items[0]?.start ?? 0;
  return (
    <div class="reading">
      {only === undefined && turns.length > 1 && <Contents turns={turns} here={turns.findIndex((turn) => turn.turn === record.reading.value)} />}
      <div class="scroll" ref={box} onScroll={scrolled} tabIndex={0} role="region" aria-label={only === undefined ? "Transcript" : `Transcript of turn ${only}`}>
        <div class="space" style={{ height: `${list.getTotalSize()}px` }}>
          <div class="seen" style={{ transform: `translateY(${first}px)` }}>
            {items.map(({ index, key }) => {
              const it = places[index];
              if (!it) return null;
              return (
                <div key={String(key)} class="item" data-index={index} ref={list.measureElement}>
                  {it.step === HEAD && <TurnHead turn={it.turn} prompt={it.turn.prompt || (it.turn === outline.turns[0] ? outline.prompt : "")} />}
                  {it.step === END && <TurnEnd turn={it.turn} outline={outline} id={record.id} />}
                  {it.step >= 0 && <Card step={record.step(it.turn.turn, it.step)} id={record.id} />}
                </div>
              );
            })}
          </div>
        </div>
      </div>
      {record.live.value && !follows.value && (
        <button type="button" class="to-end" onClick={toEnd}>↓ Follow the end</button>
      )}
    </div>
  );
}

/** The turns, of which one is being read. */
function Contents({ turns, here }: { turns: Turn[]; here: number }) {
  const box = useRef<HTMLElement>(null);
  const list = useVirtual({ count: turns.length, getScrollElement: () => box.current, estimateSize: () => 28, overscan: 8 });
  const items = list.getVirtualItems();
  useEffect(() => {
    if (here >= 0) list.scrollToIndex(here, { align: "auto" });
  }, [here]);
  const lines = items.map(({ index }) => {
    const turn = turns[index];
    if (!turn) return null;
    return (
      <li key={turn.turn} data-index={index} ref={list.measureElement} aria-setsize={turns.length} aria-posinset={index + 1}>
        <A href={toTurn(turn.turn)} class={index === here ? "here" : ""}>
          <span>{turn.turn}</span> {turn.agent || "client"} <small>{turn.role === "solo" ? "" : turn.role}</small>
          <Badge of={turn.outcome ?? "active"} small />
        </A>
      </li>
    );
  });
  return (
    <nav class="contents" aria-label="Turns" ref={box}>
      <div class="space" style={{ height: `${list.getTotalSize()}px` }}>
        <ol class="seen" style={{ transform: `translateY(${items[0]?.start ?? 0}px)` }}>{lines}</ol>
      </div>
    </nav>
  );
}
