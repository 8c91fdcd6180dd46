/** Where the page is: the address is the state, so that it can be kept, sent and gone back to. */

import { signal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";

interface Place {
  path: string;
  query: URLSearchParams;
}

function here(): Place {
  return { path: location.pathname, query: new URLSearchParams(location.search) };
}

export const place = signal<Place>(here());

addEventListener("popstate", () => {
  place.value = here();
});

/** Goes to an address of this page. With `replace`, going back does not come by here. */
export function go(url: string, replace = false): void {
  if (url === location.pathname + location.search) return;
  if (replace) history.replaceState(null, "", url);
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

/** A link within the page. */
export function A({ href, ...rest }: { href: string; children?: ComponentChildren } & JSX.IntrinsicElements["a"]) {
  const follow = (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(href);
  };
  return <a href={href} onClick={follow} {...rest} />;
}
