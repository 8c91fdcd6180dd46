/** Drawings of sixteen by sixteen, in the colour of the text beside them. */

const PATHS: Record<string, string> = {
  success: "M3 8.5l3.2 3.2L13 4.8",
  failed: "M4 4l8 8M12 4l-8 8",
  interrupted: "M4 4h8v8H4z",
  max_iterations_reached: "M12.5 6.5A5 5 0 1 0 13 9M13 3v3.7H9.3",
  unknown: "M5.500 6.200a2.500 2.500 0 1 1 3.700 2.200c-.8.5-1.200.9-1.200 1.800M8 12.800v.3",
  crashed: "M9 2L4 9h3.5L7 14l5-7H8.5z",
  active: "M8 4v4l2.5 2",
  checkpointed: "M5.5 4v8M10.5 4v8",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10.5 10.5L14 14",
  copy: "M5.5 5.5V3h7.5v7.5h-2.5M3 5.5h7.5V13H3z",
  down: "M4 6l4 4 4-4",
  right: "M6 4l4 4-4 4",
  close: "M4 4l8 8M12 4l-8 8",
  sun: "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6zM8 1v1.6M8 13.4V15M1 8h1.6M13.4 8H15M3 3l1.2 1.2M11.8 11.8L13 13M13 3l-1.2 1.2M4.2 11.8L3 13",
  moon: "M13.2 9.6A5.7 5.7 0 0 1 6.4 2.8a5.7 5.7 0 1 0 6.8 6.8z",
  keys: "M1.5 4.5h13v7h-13zM4 7h.5M7 7h.5M10 7h.5M5 9.3h6",
  download: "M8 2v8M4.5 7L8 10.5 11.5 7M3 13.5h10",
  trash: "M3 4.5h10M6.5 4V2.5h3V4M4.5 4.5L5 13.5h6l.5-9",
  compare: "M3 3h4v10H3zM9 3h4v10H9z",
  file: "M4 2h5l3 3v9H4zM9 2v3h3",
  edit: "M3 13l.7-3L10.5 3.2l2.3 2.3L6 12.3z",
  execute: "M2.5 4l3.5 4-3.5 4M8 12.5h5.5",
  read: "M2 3.5c2-1 4-1 6 .5 2-1.500 4-1.500 6-.5v9c-2-1-4-1-6 .5-2-1.500-4-1.500-6-.5zM8 4v9",
  fetch: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM2 8h12M8 2c2.500 3.500 2.500 8.500 0 12M8 2c-2.500 3.500-2.500 8.500 0 12",
  think: "M5 11.5c-1.800-1-2.500-2.700-2.500-4a5.500 5.500 0 0 1 11 0c0 1.300-.7 3-2.500 4M6 14h4",
  tool: "M10 2.500a3.500 3.500 0 0 0-3.300 4.700L2.500 11.500l2 2 4.300-4.200A3.500 3.500 0 0 0 13.400 5L11 7.300 8.700 5 11 2.600z",
  rate_limited: "M8 2.5a5.500 5.500 0 1 0 0 11 5.500 5.500 0 0 0 0-11zM8 5.500v3M8 10.500v.300",
  stalled: "M8 2.500a5.500 5.500 0 1 0 0 11 5.500 5.500 0 0 0 0-11zM5.500 8h5",
  timed_out: "M8 2.500a5.500 5.500 0 1 0 0 11 5.500 5.500 0 0 0 0-11zM8 5v3l2 1.500",
  menu: "M2.500 4.500h11M2.500 8h11M2.500 11.500h11",
  loop: "M12.500 6.500A5 5 0 1 0 13 9M13 3v3.700H9.300",
  handoff: "M2 8h11M9.500 4.500L13 8l-3.500 3.500",
};

export function Icon({ name }: { name: string }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={PATHS[name] ?? PATHS.tool} fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" />
    </svg>
  );
}

/** Which drawing tells of a tool of some kind. */
export function toolIcon(kind: string): string {
  const known: Record<string, string> = { search: "search", delete: "trash", move: "handoff" };
  return known[kind] ?? (kind in PATHS ? kind : "tool");
}
