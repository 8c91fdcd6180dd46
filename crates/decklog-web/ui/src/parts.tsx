/** Small parts that every view uses. */

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { ApiError } from "./api";
import { Icon } from "./icons";
import type { Head } from "./types";

const WORDS: Record<string, string> = {
  max_iterations_reached: "max iterations",
  rate_limited: "rate limited",
  timed_out: "timed out",
  active: "running",
};

/** An outcome or a status in the words that are shown. */
export function word(outcome: string): string {
  return WORDS[outcome] ?? outcome;
}

/** How a session stands: what came out, or else where it is. */
export function standing(head: Head): string {
  return head.status === "crashed" ? "crashed" : head.status === "completed" ? (head.outcome ?? "unknown") : head.status;
}

/** Told by colour, drawing and word, each of which suffices. */
export function Badge({ of, small = false, says = word(of) }: { of: string; small?: boolean; says?: string }) {
  return (
    <span class={`badge ${of}${small ? " small" : ""}`}>
      <Icon name={of} />
      <span class="word">{says}</span>
    </span>
  );
}

export function Copy({ text, label }: { text: string; label: string }) {
  const done = useSignal(false);
  const copy = async (event: Event) => {
    event.preventDefault();
    event.stopPropagation();
    await navigator.clipboard.writeText(text);
    done.value = true;
    setTimeout(() => (done.value = false), 1200);
  };
  return (
    <button type="button" class="quiet copy" title={`Copy ${label}`} aria-label={`Copy ${label}`} onClick={copy}>
      <Icon name={done.value ? "success" : "copy"} />
      <span class="sr" role="status">{done.value ? "Copied" : ""}</span>
    </button>
  );
}

/** Something that opens below a button, and closes with Esc or a click elsewhere. */
export function Menu({ label, name, active = false, onOpen, children }: { label: ComponentChildren; name: string; active?: boolean; onOpen?: () => void; children: ComponentChildren }) {
  const open = useSignal(false);
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open.value) return;
    const outside = (event: Event) => {
      if (!root.current?.contains(event.target as Node)) open.value = false;
    };
    addEventListener("pointerdown", outside);
    addEventListener("focusin", outside);
    return () => {
      removeEventListener("pointerdown", outside);
      removeEventListener("focusin", outside);
    };
  }, [open.value]);
  const close = (event: KeyboardEvent) => {
    if (event.key !== "Escape" || !open.value) return;
    event.stopPropagation();
    open.value = false;
    root.current?.querySelector("button")?.focus();
  };
  const toggle = () => {
    open.value = !open.value;
    if (open.value) onOpen?.();
  };
  return (
    <div class="menu" ref={root} onKeyDown={close}>
      <button type="button" class={active ? "active" : ""} aria-expanded={open.value} aria-haspopup="true" onClick={toggle}>
        {label}
        <Icon name="down" />
      </button>
      {open.value && <div class="popup" role="group" aria-label={name}>{children}</div>}
    </div>
  );
}

/** What went wrong, and what to do. */
export function Trouble({ error }: { error: unknown }) {
  const hint = error instanceof ApiError ? error.hint : undefined;
  return (
    <div class="trouble" role="alert">
      <strong>{error instanceof Error ? error.message : String(error)}</strong>
      {hint && <p>{hint}</p>}
    </div>
  );
}

/** HTML that the server made, in which everything that an agent wrote is text. */
export function Html({ html, class: name }: { html: string; class?: string }) {
  return <div class={name} dangerouslySetInnerHTML={{ __html: html }} />;
}

/** Asks before something that cannot be undone. */
export function Confirm({ title, children, verb, onYes, onNo }: { title: string; children: ComponentChildren; verb: string; onYes: () => void; onNo: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} class="confirm" aria-labelledby="confirm-title" onCancel={onNo}>
      <h2 id="confirm-title">{title}</h2>
      {children}
      <div class="actions">
        <button type="button" onClick={onNo}>Cancel</button>
        <button type="button" class="danger" onClick={onYes}>{verb}</button>
      </div>
    </dialog>
  );
}

export function Empty({ title, found, children }: { title: string; found?: string; children?: ComponentChildren }) {
  return (
    <div class="empty" data-found={found}>
      <h2>{title}</h2>
      {children}
    </div>
  );
}
