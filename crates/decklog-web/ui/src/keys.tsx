/** Keys, and the list of them. A view says what its keys do while it is there. */

import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";

type Deeds = Record<string, (event: KeyboardEvent) => void>;

const views: Deeds[] = [];

export const helping = signal(false);

/** Inputs that take no letters. */
const TAKES_NONE = ["checkbox", "radio", "button", "submit"];

function isTyping(target: EventTarget | null): boolean {
  if (target instanceof HTMLInputElement) return !TAKES_NONE.includes(target.type);
  return target instanceof HTMLElement && (target.isContentEditable || ["TEXTAREA", "SELECT"].includes(target.tagName));
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const target = event.target;
  if (event.key === "Escape" && isTyping(target)) {
    (target as HTMLElement).blur();
    return;
  }
  // Enter and space belong to what has the focus.
  const isControl = target instanceof HTMLElement && target.closest("button, a, summary, input, [role=tab]") !== null;
  if (isTyping(target) || document.querySelector("dialog[open]") || (isControl && (event.key === "Enter" || event.key === " "))) return;
  for (const view of [...views].reverse()) {
    const deed = view[event.key];
    if (!deed) continue;
    event.preventDefault();
    deed(event);
    return;
  }
});

/** Gives keys a meaning while the component is there. */
export function useKeys(deeds: Deeds): void {
  const current = useRef(deeds);
  current.current = deeds;
  // Before it is seen: who sees it may type at once.
  useLayoutEffect(() => {
    const view: Deeds = new Proxy({}, { get: (_, key: string) => current.current[key] });
    views.push(view);
    return () => {
      views.splice(views.indexOf(view), 1);
    };
  }, []);
}

const LIST: [string, string][] = [
  ["j k", "Move down and up"],
  ["Enter", "Open"],
  ["x", "Select"],
  ["/", "Search"],
  ["Esc", "Back"],
  ["n p", "Next and previous turn"],
  ["d", "Changes, and back to the transcript"],
  ["t", "Light or dark"],
  ["?", "This list"],
];

export function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (helping.value) dialog.current?.showModal();
    else dialog.current?.close();
  }, [helping.value]);
  return (
    <dialog ref={dialog} class="help" aria-labelledby="help-title" onClose={() => (helping.value = false)}>
      <h2 id="help-title">Keys</h2>
      <dl>
        {LIST.map(([key, does]) => (
          <div key={key}>
            <dt>{key.split(" ").map((one) => <kbd key={one}>{one}</kbd>)}</dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <p class="actions"><button type="button" onClick={() => (helping.value = false)}>Close</button></p>
    </dialog>
  );
}
