/** The journal, line by line, as it stands on disk. */

import { useSignal } from "@preact/signals";
import { useMemo, useRef } from "preact/hooks";
import { useAsking } from "../asking";
import type { Record } from "./record";
import { get } from "../api";
import { clock } from "../format";
import type { Outline } from "../types";
import { useVirtual } from "../virtual";

const PIECE = 100;

type Line = { [key: string]: unknown } | string;

export function Events({ record, outline }: { record: Record; outline: Outline }) {
  const box = useRef<HTMLDivElement>(null);
  const { id } = record;
  const lines = useMemo(() => new Map<number, Line>(), [id]);
  const asked = useMemo(() => new Set<number>(), [id]);
  const version = useSignal(0);
  void version.value;
  const open = useSignal<ReadonlySet<number>>(new Set());
  const total = Math.max(record.written.value.events + outline.faults.length, lines.size);
  const list = useVirtual({ count: total, getScrollElement: () => box.current, estimateSize: () => 34, overscan: 20 });
  const items = list.getVirtualItems();
  useAsking(() => {
    for (const { index } of items) {
      if (lines.has(index)) continue;
      // An answer of long lines ends before its piece does.
      let from = Math.floor(index / PIECE) * PIECE;
      while (lines.has(from)) from += 1;
      if (asked.has(from)) continue;
      asked.add(from);
      get<Line[]>(`/sessions/${id}/events?from=${from}&limit=${PIECE}`).then(
        (piece) => {
          piece.forEach((line, n) => lines.set(from + n, line));
          if (piece.length) asked.delete(from);
          version.value += 1;
        },
        () => asked.delete(from),
      );
    }
  }, [items[0]?.index, items.at(-1)?.index, total, version.value]);
  const toggle = (index: number) => {
    const next = new Set(open.value);
    if (!next.delete(index)) next.add(index);
    open.value = next;
  };
  return (
    <div class="scroll events" ref={box} tabIndex={0} role="region" aria-label="Events">
      <div class="space" style={{ height: `${list.getTotalSize()}px` }}>
        <div class="seen" style={{ transform: `translateY(${items[0]?.start ?? 0}px)` }}>
          {items.map(({ index }) => (
            <div key={index} data-index={index} ref={list.measureElement}>
              <Row index={index} line={lines.get(index)} isOpen={open.value.has(index)} toggle={toggle} />
            </div>
          ))}
        </div>
      </div>
    </div>
  );
}

function Row({ index, line, isOpen, toggle }: { index: number; line: Line | undefined; isOpen: boolean; toggle: (index: number) => void }) {
  if (line === undefined) return <p class="event coming">…</p>;
  if (typeof line === "string") return <p class="event bad"><code>{line}</code></p>;
  const { seq, timestamp, type, sum: _, ...rest } = line;
  const text = JSON.stringify(rest);
  return (
    <div class="event">
      <button type="button" class="plain" aria-expanded={isOpen} onClick={() => toggle(index)}>
        <span class="seq">{String(seq)}</span>
        <time>{typeof timestamp === "string" ? clock(timestamp) : ""}</time>
        <b>{String(type)}</b>
        <code>{text.slice(0, 300)}</code>
      </button>
      {isOpen && <pre>{JSON.stringify(line, null, 2)}</pre>}
    </div>
  );
}
