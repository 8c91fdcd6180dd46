/**
 * What happens while it happens: one stream of events, of the session root and of the session that is open. A browser has six
 * connections to a server: there is one for a page, and none for a page in the background. Whoever comes back is told what
 * changed since the last event that it had.
 */

const BASE = "/api/v1";

/** How long until a server that refused is asked again, in milliseconds. */
const AGAIN = 3000;

/** What to do with events, by name. */
type Deeds = Record<string, (data: string) => void>;

/** A session that is followed from a position in its journal on. */
export interface Followed {
  id: string;
  position: number;
  on: Deeds;
  /** It cannot be followed: it may be gone. */
  refused: () => void;
}

let source: EventSource | null = null;
let session: (Followed & { last: string | null }) | null = null;
let root: { on: Deeds; state: (answers: boolean) => void } | null = null;
let again = 0;

function close(): void {
  clearTimeout(again);
  source?.close();
  source = null;
}

function open(): void {
  close();
  if (!root || document.hidden) return;
  const [watched, followed] = [root, session];
  const query = followed ? `?session=${followed.id}&after=${followed.last ?? followed.position}` : "";
  const stream = new EventSource(`${BASE}/live${query}`);
  source = stream;
  stream.onopen = () => watched.state(true);
  stream.onerror = () => {
    watched.state(false);
    // It comes back by itself, unless the server said no.
    if (stream.readyState !== EventSource.CLOSED) return;
    again = window.setTimeout(open, AGAIN);
    followed?.refused();
  };
  const take = (on: Deeds) => {
    for (const [name, deed] of Object.entries(on)) {
      stream.addEventListener(name, (event: MessageEvent<string>) => {
        if (followed) followed.last = event.lastEventId || followed.last;
        deed(event.data);
      });
    }
  };
  take(watched.on);
  if (followed) take({ ...followed.on, trouble: () => followed.refused() });
}

/** Follows the session root for as long as the page is there. */
export function watch(on: Deeds, state: (answers: boolean) => void): () => void {
  root = { on, state };
  const seen = () => (document.hidden ? close() : source ?? open());
  document.addEventListener("visibilitychange", seen);
  seen();
  return () => {
    document.removeEventListener("visibilitychange", seen);
    root = null;
    close();
  };
}

/** Follows a session, too, until what this gives is called. */
export function follow(followed: Followed): () => void {
  const mine = { ...followed, last: null };
  session = mine;
  open();
  return () => {
    if (session !== mine) return;
    session = null;
    open();
  };
}
