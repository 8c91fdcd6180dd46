/**
 * Streams of events that are open while the page is seen. A browser has six connections to a server: pages in the background
 * must not hold them. Whoever comes back is told what changed since the last event that it had.
 */

const BASE = "/api/v1";

/** How long until a server that refused is asked again, in milliseconds. */
const AGAIN = 3000;

interface Told {
  /** What to do with events, by name. */
  on: Record<string, (data: string) => void>;
  /** Whether the server answers. */
  state?: (answers: boolean) => void;
}

/** Follows the stream at `path`, which is told the last id; what it gives ends that. */
export function follow(path: (last: string | null) => string, { on, state }: Told): () => void {
  let source: EventSource | null = null;
  let last: string | null = null;
  let again = 0;
  const close = () => {
    clearTimeout(again);
    source?.close();
    source = null;
  };
  const open = () => {
    close();
    const stream = new EventSource(BASE + path(last));
    source = stream;
    stream.onopen = () => state?.(true);
    stream.onerror = () => {
      state?.(false);
      // It comes back by itself, unless the server said no.
      if (stream.readyState === EventSource.CLOSED) again = window.setTimeout(open, AGAIN);
    };
    for (const [name, take] of Object.entries(on)) {
      stream.addEventListener(name, (event: MessageEvent<string>) => {
        last = event.lastEventId || last;
        take(event.data);
      });
    }
  };
  const seen = () => {
    if (document.hidden) close();
    else if (!source) open();
  };
  document.addEventListener("visibilitychange", seen);
  seen();
  return () => {
    document.removeEventListener("visibilitychange", seen);
    close();
  };
}
