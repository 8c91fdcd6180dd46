/** The list itself: as many rows as are seen. */

import { type Signal, useSignal } from "@preact/signals";
import { Component } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { useAsking } from "../asking";
import { useKeys } from "../keys";
import { Icon } from "../icons";
import { A, go, place, withQuery } from "../router";
import type { Head } from "../types";
import { useVirtual } from "../virtual";
import { COLUMNS, type Column } from "./columns";
import type { Pages } from "./pages";

const WIDE = 44;
const NARROW = 76;

/** How long a running session's time stands still, in milliseconds. */
const TICK = 1000;

/** How long that of the others does. */
const MINUTE = 60_000;

export function Table({ pages, selected }: { pages: Pages; selected: Signal<ReadonlySet<string>> }) {
  const box = useRef<HTMLDivElement>(null);
  const at = useSignal(-1);
  const id = useRef<string | undefined>(undefined);
  const now = useSignal(Date.now());
  const narrow = useSignal(innerWidth < 720);
  const total = pages.total.value ?? 0;
  void pages.version.value;
  const list = useVirtual({
    count: total,
    getScrollElement: () => box.current,
    estimateSize: () => (narrow.value ? NARROW : WIDE),
    overscan: 6,
  });
  const items = list.getVirtualItems();
  // Another list: it is begun where the address says, or from the top.
  useLayoutEffect(() => {
    at.value = Number(place.value.query.get("at") ?? -1);
    id.current = undefined;
  }, [pages]);
  useEffect(() => {
    if (at.value >= 0 && total > 0) list.scrollToIndex(at.value, { align: "center" });
  }, [pages, total > 0]);
  // What one is at is a session, wherever it goes.
  useLayoutEffect(() => {
    const head = pages.at(at.value);
    if (!head || head.id === id.current) return;
    if (id.current !== undefined) at.value = pages.placeOf(id.current) ?? -1;
    id.current = pages.at(at.value)?.id;
  }, [pages, pages.version.value]);
  useAsking(() => pages.show(items[0]?.index ?? 0, items.at(-1)?.index ?? 60), [pages, items[0]?.index, items.at(-1)?.index]);
  useEffect(() => {
    const tick = setInterval(() => (now.value = Date.now()), TICK);
    const resize = () => {
      narrow.value = innerWidth < 720;
      list.measure();
    };
    addEventListener("resize", resize);
    return () => {
      clearInterval(tick);
      removeEventListener("resize", resize);
    };
  }, []);
  const move = (by: number) => {
    at.value = Math.max(0, Math.min(total - 1, at.value + by));
    id.current = here()?.id;
    list.scrollToIndex(at.value, { align: "auto" });
    go(withQuery({ at: String(at.value) }), true);
    moved.current = true;
  };
  // The row that one has moved to takes the focus once it is there: keys act on it, and it is read out.
  const moved = useRef(false);
  useLayoutEffect(() => {
    const link = moved.current && box.current?.querySelector<HTMLElement>(".row.here a.open");
    if (!link) return;
    moved.current = false;
    link.focus({ preventScroll: true });
  });
  const here = () => pages.at(at.value);
  const toggle = (id: string) => {
    const next = new Set(selected.value);
    if (!next.delete(id)) next.add(id);
    selected.value = next;
  };
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    Enter: () => {
      const head = here();
      if (head) go(`/s/${head.id}`);
    },
    x: () => {
      const head = here();
      if (head) toggle(head.id);
    },
    Escape: () => (selected.value = new Set()),
  });
  const loading = pages.total.value === null;
  const minute = Math.floor(now.value / MINUTE) * MINUTE;
  return (
    <div class="table" role="table" aria-label="Sessions" aria-rowcount={total + 1} aria-busy={loading}>
      <div class="row head" role="row" aria-rowindex={1}>
        <span role="columnheader" class="select"><span class="sr">Selected</span></span>
        {COLUMNS.map((column) => <Title key={column.name} column={column} />)}
      </div>
      <div class="rows" role="rowgroup" ref={box} tabIndex={-1}>
        <div class="space" role="presentation" style={{ height: `${list.getTotalSize()}px` }}>
          {items.map(({ index, start }) => (
            <Row key={index} head={pages.at(index)} index={index} top={start} now={pages.at(index)?.status === "active" ? now.value : minute} isHere={index === at.value} isSelected={selected.value.has(pages.at(index)?.id ?? "")} toggle={toggle} />
          ))}
        </div>
      </div>
      {loading && <div class="skeleton" aria-hidden="true">{Array.from({ length: 12 }, (_, n) => <i key={n} />)}</div>}
    </div>
  );
}

function Title({ column }: { column: Column }) {
  const query = place.value.query;
  const sorted = (query.get("sort") ?? "started") === column.sort;
  const order = query.get("order") === "asc" ? "asc" : "desc";
  if (!column.sort) return <span role="columnheader" class={column.name}>{column.title}</span>;
  const next = sorted && order === "desc" ? "asc" : "desc";
  const aria = sorted ? { "aria-sort": order === "asc" ? ("ascending" as const) : ("descending" as const) } : {};
  return (
    <span role="columnheader" class={column.class} {...aria}>
      <button type="button" class={sorted ? `sorted ${order}` : ""} onClick={() => go(withQuery({ sort: column.sort ?? null, order: next, at: null }))}>
        {column.title}
        {sorted && <Icon name="down" />}
      </button>
    </span>
  );
}

interface RowProps {
  head: Head | undefined;
  index: number;
  top: number;
  now: number;
  isHere: boolean;
  isSelected: boolean;
  toggle: (id: string) => void;
}

/**
 * A row that is the same is not made again: while one scrolls, only those that come are. A drawing kept in a hook would know
 * the list that it was first drawn in, and through it all before: what is kept is the component.
 */
class Row extends Component<RowProps> {
  override shouldComponentUpdate(next: RowProps): boolean {
    return SHOWN.some((name) => next[name] !== this.props[name]);
  }

  override render(props: RowProps) {
    return drawn(props);
  }
}

/** What a row shows. */
const SHOWN = ["head", "index", "top", "now", "isHere", "isSelected"] as const;

function drawn({ head, index, top, now, isHere, isSelected, toggle }: RowProps) {
  const place = { top: `${top}px` };
  if (!head) return <div class="row coming" role="row" aria-rowindex={index + 2} style={place}><span role="cell" /></div>;
  const classes = `row${isHere ? " here" : ""}${isSelected ? " selected" : ""}`;
  return (
    <div class={classes} role="row" aria-rowindex={index + 2} aria-selected={isSelected} style={place}>
      <span role="cell" class="select">
        <input type="checkbox" checked={isSelected} aria-label={`Select ${head.id}`} onChange={() => toggle(head.id)} />
      </span>
      {COLUMNS.map((column) => (
        <span key={column.name} role="cell" class={column.class} title={column.tells?.(head)}>
          {column.name === "prompt" ? <A href={`/s/${head.id}`} class="open">{column.cell(head, now)}</A> : column.cell(head, now)}
        </span>
      ))}
    </div>
  );
}
