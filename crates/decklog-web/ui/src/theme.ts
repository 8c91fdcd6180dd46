/** Light or dark: as the system has it, until it is chosen here. */

import { signal } from "@preact/signals";

const KEY = "decklog-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function chosen(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

export const dark = signal(chosen() ? chosen() === "dark" : system.matches);

function show(): void {
  document.documentElement.dataset.theme = dark.value ? "dark" : "light";
}

system.addEventListener("change", () => {
  if (!chosen()) dark.value = system.matches;
});
dark.subscribe(show);

export function toggleTheme(): void {
  dark.value = !dark.value;
  try {
    localStorage.setItem(KEY, dark.value ? "dark" : "light");
  } catch {
    // It holds until the page is closed.
  }
}
