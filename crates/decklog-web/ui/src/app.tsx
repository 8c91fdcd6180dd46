/** The frame around every view: where to go, the search box, the theme. */

import { useEffect, useRef } from "preact/hooks";
import { helping, Help, useKeys } from "./keys";
import { Icon } from "./icons";
import { A, go, place } from "./router";
import { dark, toggleTheme } from "./theme";
import { root } from "./root";
import { Sessions } from "./list/sessions";
import { Session } from "./session/session";
import { Compare } from "./session/compare";
import { Statistics } from "./stats/statistics";
import { Empty } from "./parts";

function Search() {
  const input = useRef<HTMLInputElement>(null);
  const { path, query } = place.value;
  useKeys({ "/": () => input.current?.select() });
  const text = path === "/" ? (query.get("q") ?? "") : "";
  const search = (value: string) => {
    const next = path === "/" ? new URLSearchParams(query) : new URLSearchParams();
    if (value) next.set("q", value);
    else next.delete("q");
    // Typing on changes the search that is there; a new one can be gone back from.
    go(`/${next.size ? `?${next}` : ""}`, path === "/" && query.has("q"));
  };
  return (
    <search class="search">
      <Icon name="search" />
      <input ref={input} type="search" value={text} placeholder="Search prompts, answers, tools, changes…" aria-label="Search everything that was recorded" onInput={(event) => search(event.currentTarget.value)} />
      <kbd>/</kbd>
    </search>
  );
}

function Top() {
  const { path } = place.value;
  const current = (is: boolean) => (is ? { "aria-current": "page" as const } : {});
  return (
    <header class="top">
      <A href="/" class="brand" aria-label="decklog: all sessions">
        <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true"><rect width="32" height="32" rx="7" /><path d="M8 9h16M8 16h16M8 23h9" /></svg>
        <span>decklog</span>
      </A>
      <nav aria-label="Views">
        <A href="/" {...current(path === "/" || path.startsWith("/s/"))}>Sessions</A>
        <A href="/stats" {...current(path === "/stats")}>Statistics</A>
      </nav>
      <Search />
      <button type="button" class="quiet" aria-label={dark.value ? "Light theme" : "Dark theme"} title="Theme (t)" onClick={toggleTheme}><Icon name={dark.value ? "sun" : "moon"} /></button>
      <button type="button" class="quiet keys" aria-label="Keys" title="Keys (?)" onClick={() => (helping.value = true)}><Icon name="keys" /></button>
    </header>
  );
}

function View() {
  const { path } = place.value;
  const session = /^\/s\/([^/]+)$/.exec(path)?.[1];
  if (path === "/") return <Sessions />;
  if (path === "/stats") return <Statistics />;
  if (path === "/compare") return <Compare />;
  if (session) return <Session key={session} id={session} />;
  return (
    <main class="page">
      <Empty title="There is nothing here"><p><A href="/">All sessions</A></p></Empty>
    </main>
  );
}

export function App() {
  useKeys({ t: toggleTheme, "?": () => (helping.value = true) });
  useEffect(() => root.connect(), []);
  return (
    <>
      <a class="skip" href="#main">Skip to content</a>
      <Top />
      {root.gone.value && <p class="gone" role="status">decklog does not answer: it is tried again. If it was stopped, run <code>decklog ui</code> and open the link that it prints.</p>}
      <View />
      <Help />
    </>
  );
}
