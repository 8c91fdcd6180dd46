/** Characters that act on what stands around them, made visible, as the command line does. */

const ACTING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** In JSON these characters stand as they are, or as one of these escapes. */
const MAY_ACT = new RegExp(`${ACTING.source}|\\\\[bfru]`);

function shown(character: string): string {
  const code = character.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  return code === 0x7f ? "\u2421" : `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
}

/** Reads JSON, all texts in it made visible. */
export function parsed<T>(json: string): T {
  const value = JSON.parse(json) as T;
  return MAY_ACT.test(json) ? visible(value) : value;
}

/** All texts in an answer; what is HTML has been made so by the server, where nothing in it acts. */
export function visible<T>(value: T): T {
  if (typeof value === "string") return (value.search(ACTING) < 0 ? value : value.replace(ACTING, shown)) as T;
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) {
    value.forEach((one, at) => (value[at] = visible(one)));
    return value;
  }
  const all = value as Record<string, unknown>;
  for (const name of Object.keys(all)) if (!name.endsWith("html")) all[name] = visible(all[name]);
  return value;
}
