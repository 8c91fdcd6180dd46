/** Where the page is: the address is the state, so that it can be kept, sent and gone back to. */

import { effect, signal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";

interface Place {
  path: string;
  query: URLSearchParams;
}

function here(): Place {
  return { path: location.pathname, query: new URLSearchParams(location.search) };
}

export const place = signal<Place>(here());

/** The list as it was seen last: filtered, sorted, and at a place in it. */
let list = "/";

/** Goes back to the list. */
export function toList(): void {
  go(list);
}

effect(() => {
  const { path, query } = place.value;
  if (path === "/") list = `/${query.size ? `?${query}` : ""}`;
});

addEventListener("popstate", () => {
  place.value = here();
});

/** Goes to an address of this page, also where one is already. With `replace`, going back does not come by here. */
export function go(url: string, replace = false): void {
  if (replace || url === location.pathname + location.search) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
  place.value = here();
}

/** The address here with some of its query changed; `null` and nothing take a name out. */
export function withQuery(changes: Record<string, string | string[] | null>): string {
  const query = new URLSearchParams(place.value.query);
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name);
    for (const one of Array.isArray(value) ? value : [value]) if (one) query.append(name, one);
  }
  const text = query.toString();
  return place.value.path + (text && `?${text}`);
}

/** A turn of the session that is open, in the tab that is open or in another. An iteration that was looked at is left. */
export function toTurn(turn: number, tab?: "transcript" | "changes"): string {
  return withQuery({ turn: String(turn), iteration: null, ...(tab && { tab: tab === "transcript" ? null : tab }) });
}

/** A link within the page. */
export function A({ href, ...rest }: { href: string; children?: ComponentChildren } & JSX.IntrinsicElements["a"]) {
  const follow = (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(href);
  };
  return <a href={href} onClick={follow} {...rest} />;
}
