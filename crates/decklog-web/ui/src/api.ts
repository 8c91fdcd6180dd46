/** Asking the server. Every question goes to this page's own origin and nowhere else. */

import { parsed, visible } from "./visible";

const BASE = "/api/v1";

/** Why there is no answer, in the server's words. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly hint: string | undefined,
  ) {
    super(message);
  }
}

/** An answer and the headers that say more about it. */
export interface Answer<T> {
  value: T;
  total: number;
  /** The change under the root that it is of. */
  change: number;
  /** How many sessions cannot be read. */
  unreadable: number;
}

async function failure(response: Response): Promise<ApiError> {
  const told = visible(await response.json().catch(() => ({}))) as { error?: string; hint?: string };
  return new ApiError(response.status, told.error ?? `the server answered ${response.status}`, told.hint);
}

async function request(path: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(BASE + path, { credentials: "same-origin", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "decklog does not answer", "run `decklog ui` again, and open the link that it prints");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

/** Asks, and gives what headers say besides. */
export async function ask<T>(path: string, signal?: AbortSignal): Promise<Answer<T>> {
  const response = await request(path, signal ? { signal } : {});
  return {
    value: parsed<T>(await response.text()),
    total: Number(response.headers.get("x-total-count") ?? 0),
    change: Number(response.headers.get("x-change") ?? -1),
    unreadable: Number(response.headers.get("x-unreadable-count") ?? 0),
  };
}

/** Asks. */
export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await ask<T>(path, signal)).value;
}

/** What came of discarding. */
export interface Discarded {
  removed: string[];
  failed: { id: string; error: string }[];
  kept: string[];
}

export async function discard(ids: string[]): Promise<Discarded> {
  const body = JSON.stringify({ ids });
  const response = await request("/discard", { method: "POST", body, headers: { "content-type": "application/json" } });
  return visible((await response.json()) as Discarded);
}

/** Where a session's artifact is downloaded from. */
export function fileUrl(id: string, path: string): string {
  return `${BASE}/sessions/${id}/files/${path.split("/").map(encodeURIComponent).join("/")}`;
}

export function patchUrl(id: string, range: string): string {
  return `${BASE}/sessions/${id}/patch${range && `?${range}`}`;
}

export function exportUrl(ids: string[], format: string): string {
  const query = new URLSearchParams(ids.map((id) => ["id", id]));
  query.set("format", format);
  return `${BASE}/export?${query}`;
}
