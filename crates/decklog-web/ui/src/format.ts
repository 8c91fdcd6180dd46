/** Numbers, times and sizes in words. */

const integers = new Intl.NumberFormat("en");

export function count(value: number): string {
  return integers.format(value);
}

export function plural(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** A number in as little room as can be: 1.2k, 3.4M. */
export function short(value: number): string {
  if (value < 1000) return String(Math.round(value));
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]] as const) {
    if (value >= size) return `${(value / size).toFixed(value < 10 * size ? 1 : 0)}${unit}`;
  }
  return String(value);
}

export function duration(seconds: number): string {
  if (seconds < 0.95) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 59.5) return `${seconds < 9.95 ? Number(seconds.toFixed(1)) : Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  const both = (large: number, unit: string, small: number, rest: string) => `${large} ${unit}${small ? ` ${small} ${rest}` : ""}`;
  if (minutes < 60) return seconds < 600 ? both(Math.floor(seconds / 60), "m", Math.floor(seconds % 60), "s") : `${minutes} m`;
  const hours = Math.floor(seconds / 3600);
  if (hours < 48) return both(hours, "h", Math.floor((seconds % 3600) / 60), "m");
  return both(Math.floor(hours / 24), "d", hours % 24, "h");
}

export function cost(dollars: number): string {
  return `$${dollars < 0.01 && dollars > 0 ? dollars.toFixed(4) : dollars.toFixed(2)}`;
}

export function bytes(value: number): string {
  if (value < 1024) return `${value} B`;
  for (const [size, unit] of [[1024 ** 3, "GiB"], [1024 ** 2, "MiB"], [1024, "KiB"]] as const) {
    if (value >= size) return `${(value / size).toFixed(1)} ${unit}`;
  }
  return `${value} B`;
}

export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

const sameDay = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const sameYear = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const anyYear = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const full = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "medium" });
const clockTime = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** A moment as shortly as it can be told today. */
export function when(at: string, now = new Date()): string {
  const date = new Date(at);
  if (date.toDateString() === now.toDateString()) return sameDay.format(date);
  return (date.getFullYear() === now.getFullYear() ? sameYear : anyYear).format(date);
}

const dayInYear = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const monthOfYear = new Intl.DateTimeFormat("en-GB", { month: "short", year: "numeric", timeZone: "UTC" });

/** A day (2026-11-22), a week (2026-W47) or a month (2026-11) as an axis tells it. */
export function dayOf(key: string): string {
  if (key.includes("W")) return key.slice(5);
  return (key.length > 7 ? dayInYear : monthOfYear).format(new Date(key));
}

export function moment(at: string): string {
  return full.format(new Date(at));
}

export function clock(at: string): string {
  return clockTime.format(new Date(at));
}

/** The first line of a text that says something. */
export function firstLine(text: string): string {
  return text.split("\n").find((line) => line.trim())?.trim() ?? "";
}
