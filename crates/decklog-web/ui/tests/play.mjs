// What the page does: everything that a user can do on it, over the sessions of the archive.
//
//   node play.mjs LINK NOW

import { check, open, same, withBrowser } from "./browser.mjs";

const [link, now] = process.argv.slice(2);

await withBrowser(async (browser) => {
  const { page, origin, troubles } = await open(browser, link, { now, width: 1280, height: 800 });
  const at = () => {
    const url = new URL(page.url());
    return url.pathname + url.search;
  };
  const rows = page.locator(".rows .row:not(.coming)");
  const prompts = () => rows.locator(".open .prompt").allTextContents();
  const wait = (words, is) => page.waitForFunction(is, undefined, { polling: 50, timeout: 10_000 }).catch((error) => check(false, words, error.message));
  const path = async (wanted) => {
    await page.waitForURL((url) => url.pathname + url.search === wanted, { timeout: 10_000 }).catch(() => same(at(), wanted));
  };

  // The list: sorted, filtered, and the address says how.
  await rows.first().waitFor();
  same(await rows.count(), 8, "rows");
  await page.getByRole("button", { name: "Took", exact: true }).click();
  await path("/?sort=duration&order=desc");
  await wait("the longest first", () => document.querySelector(".rows .open .prompt")?.textContent === "Write hello.");
  await page.getByRole("button", { name: "Took", exact: true }).click();
  await path("/?sort=duration&order=asc");
  await wait("the shortest first", () => document.querySelector(".rows .open .prompt")?.textContent.startsWith("sh -c 'printf"));
  await page.goto(origin);
  await page.getByRole("button", { name: "Outcome", exact: true }).first().click();
  await page.getByLabel("failed", { exact: true }).check();
  await path("/?outcome=failed");
  await wait("two have failed", () => document.querySelectorAll(".rows .row:not(.coming)").length === 2);
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Agent", exact: true }).first().click();
  await page.getByRole("group", { name: "Agent" }).getByLabel("ada").check();
  await path("/?outcome=failed&agent=ada");
  await wait("one is left", () => document.querySelectorAll(".rows .row:not(.coming)").length === 1);
  await page.reload();
  await rows.first().waitFor();
  same(await rows.count(), 1, "rows after the page was loaded again");
  await page.goBack();
  await wait("going back takes a filter away", () => document.querySelectorAll(".rows .row:not(.coming)").length === 2);
  await page.getByRole("button", { name: "Clear all" }).click();
  await path("/");
  await page.getByRole("button", { name: "More", exact: true }).click();
  await page.getByLabel("Touched a file").fill("src/**/*.rs");
  await page.keyboard.press("Enter");
  await wait("one touched sources", () => document.querySelectorAll(".rows .row:not(.coming)").length === 1);
  await page.goto(`${origin}/?after=nonsense`);
  await page.getByRole("alert").waitFor();
  check((await page.getByRole("alert").textContent()).includes("nonsense"), "what is wrong is said");
  await page.goto(`${origin}/stats?after=nonsense`);
  await page.getByRole("alert").waitFor();
  await page.getByRole("button", { name: "Clear all" }).click();
  await page.locator(".cards").waitFor();
  await page.getByRole("alert").waitFor({ state: "detached" });
  troubles.splice(0, troubles.length, ...troubles.filter((one) => !one.includes("400")));

  // Keys.
  await page.goto(origin);
  await rows.first().waitFor();
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("k");
  await page.keyboard.press("j");
  await path("/?at=1");
  const second = (await prompts())[1];
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1 }).waitFor();
  same(await page.getByRole("heading", { level: 1 }).textContent(), second, "what was opened");
  const here = () => page.locator(".rows .row.here .open .prompt").textContent();
  await page.keyboard.press("Escape");
  await path("/?at=1");
  same(await here(), second, "where one was in the list");
  // Keys act on the list whatever was clicked on before.
  await rows.nth(4).getByRole("checkbox").check();
  await page.keyboard.press("j");
  await path("/?at=2");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Took", exact: true }).click();
  await path("/?sort=duration&order=desc");
  await wait("another list is begun from its top", () => document.querySelector(".rows .open") && !document.querySelector(".row.here"));
  await page.keyboard.press("j");
  const longest = await here();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1 }).waitFor();
  same(await page.getByRole("heading", { level: 1 }).textContent(), longest, "what was opened from a sorted list");
  await page.keyboard.press("Escape");
  await path("/?sort=duration&order=desc&at=0");
  // Far down a list is where one comes back to.
  await page.setViewportSize({ width: 1280, height: 330 });
  await page.goto(`${origin}/?at=7`);
  await page.locator(".rows .row.here").waitFor();
  await page.waitForFunction(() => {
    const [row, box] = [".rows .row.here", ".rows"].map((one) => document.querySelector(one).getBoundingClientRect());
    return row.top >= box.top && row.bottom <= box.bottom + 1;
  });
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.goto(origin);
  await rows.first().waitFor();
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  await page.keyboard.press("Escape");
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  const before = await theme();
  await page.keyboard.press("t");
  await page.waitForFunction((old) => document.documentElement.dataset.theme !== old, before);
  await page.reload();
  check((await theme()) !== before, "it stays");
  await page.keyboard.press("t");

  // Searching.
  await page.keyboard.press("/");
  await page.keyboard.type("greeting fil");
  await page.locator(".hits li").first().waitFor();
  check(at().startsWith("/?q=greeting"), at());
  await page.locator(".hits mark").first().waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => url.pathname.startsWith("/s/"));
  await page.goto(`${origin}/?q=quetzalcoatl`);
  await page.getByText("Nothing found").waitFor();

  // A loop: its timeline, its turns, its critic.
  const heads = await page.evaluate(async () => (await fetch("/api/v1/sessions")).json());
  const one = (is) => heads.find(is).id;
  const loop = one((head) => head.kind === "loop");
  await page.goto(`${origin}/s/${loop}`);
  await page.getByRole("region", { name: "Timeline" }).waitFor();
  same(await page.locator(".timeline .bar").count(), 4, "turns on the timeline");
  same(await page.locator(".timeline .moment.iteration").count(), 2, "iterations on the timeline");
  // From the turn that is read; the first is at the top.
  await page.locator(".contents .here", { hasText: /^1/ }).waitFor();
  await page.keyboard.press("n");
  await path(`/s/${loop}?turn=2`);
  await page.keyboard.press("n");
  await page.keyboard.press("n");
  await page.keyboard.press("p");
  await path(`/s/${loop}?turn=3`);
  await page.getByRole("heading", { name: /^Turn 3/ }).waitFor();
  // A turn is gone to as often as it is asked for.
  const top = () => page.locator(".reading > .scroll").evaluate((box) => box.scrollTo(0, 0));
  for (let times = 0; times < 2; times += 1) {
    await page.locator(".timeline .bar").nth(1).click();
    await path(`/s/${loop}?turn=2`);
    await page.waitForFunction(() => document.querySelector(".reading > .scroll").scrollTop > 100);
    await top();
    await page.locator(".contents .here", { hasText: /^1/ }).waitFor();
  }
  // An iteration's changes are left for those of a turn.
  await page.getByRole("tab", { name: "Changes" }).click();
  await page.getByLabel("Changes of").selectOption({ label: "iteration 2" });
  await page.getByRole("tab", { name: "Transcript" }).click();
  await page.locator(".turn-end a", { hasText: /file/ }).first().click();
  await path(`/s/${loop}?turn=1&tab=changes`);
  await page.locator(".changes .file").first().waitFor();
  await page.goto(`${origin}/s/${loop}`);
  await page.getByLabel("Zoom in").click();
  await wait("the timeline is zoomed", () => {
    const scale = document.querySelector(".timeline .scale");
    return scale.scrollWidth > scale.clientWidth * 1.5;
  });
  await page.getByRole("tab", { name: "Critic" }).click();
  await page.locator(".judged .decision").nth(1).waitFor();
  same(await page.locator(".judged .decision").allTextContents(), ["CONTINUE", "DONE"], "decisions");
  await page.locator(".judged .diff").first().waitFor();
  check((await page.locator(".judged").first().textContent()).includes("80 % sure"), "confidence");

  // A session of a thousand turns: what lies together is drawn as one, and what failed is not lost in it.
  await page.route(`**/sessions/${loop}/outline`, async (route) => {
    const response = await route.fetch();
    const outline = await response.json();
    const [turn] = outline.turns;
    const start = Date.parse(outline.session.started_at);
    const second = (n) => new Date(start + n * 1000).toISOString();
    outline.turns = Array.from({ length: 1000 }, (_, n) => ({ ...turn, turn: n + 1, started_at: second(n), ended_at: second(n + 0.9), outcome: n === 503 ? "failed" : "success", validations: [], steps: 0 }));
    outline.marks = outline.turns.map((_, n) => ({ at: second(n + 0.5), what: "check", turn: n + 1, label: "make test", good: n !== 700, duration_secs: 0.1 }));
    outline.session.last_event_at = outline.session.ended_at = second(1000);
    await route.fulfill({ response, json: outline });
  });
  await page.goto(`${origin}/s/${loop}`);
  const bars = page.locator(".timeline .bar");
  await bars.first().waitFor();
  const drawn = [await bars.count(), await page.locator(".timeline .moment").count(), await page.locator(".contents li").count()];
  check(drawn.every((one) => one > 20 && one < 200), "drawn", drawn);
  same(await page.locator(".timeline .moment.bad").getAttribute("aria-label").then((label) => label.split(",")[0]), "check failed: make test");
  const failed = page.locator(".timeline .bar.failed");
  const [, from, to] = /^\d+ turns, (\d+) to (\d+): 1 failed$/.exec(await failed.getAttribute("aria-label"));
  check(Number(from) < 504 && 504 <= Number(to), "what failed", from, to);
  await failed.click();
  await path(`/s/${loop}?turn=504`);
  await page.getByRole("heading", { name: /^Turn 504/ }).waitFor();
  await page.locator(".contents a", { hasText: /^504/ }).waitFor();
  await page.unroute(`**/sessions/${loop}/outline`);

  // Changes: the tree, both layouts, one turn, a patch.
  const ada = one((head) => head.agents?.includes("ada") && head.kind === "run");
  await page.goto(`${origin}/s/${ada}`);
  await page.getByRole("region", { name: "Transcript" }).waitFor();
  await page.locator(".card.tool.edit .diff").first().waitFor();
  // Colours of terminals, and tables of markdown.
  await page.locator(".card.tool.failed .a1").first().waitFor();
  same(await page.locator(".card.tool.failed").count(), 1, "failed tools");
  await page.locator(".said .md table").first().waitFor();
  await page.locator(".thought summary").first().click();
  await page.getByText("The greeting stands in a file.").waitFor();
  await page.keyboard.press("d");
  await path(`/s/${ada}?tab=changes`);
  await page.locator(".diff.split").first().waitFor();
  await page.getByRole("button", { name: "Side by side" }).click();
  await page.locator(".diff:not(.split)").first().waitFor();
  // Words that differ, and tokens.
  await page.locator(".diff mark").first().waitFor();
  await page.locator(":is(.diff .k, .diff .f, .diff .s)").first().waitFor();
  await page.locator(".tree button").last().click();
  check(await page.locator("#file-tests-greets-rs").evaluate((element) => element.open), "the file is shown");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Patch" }).click()]);
  same(download.suggestedFilename(), `${ada}.patch`);
  await page.keyboard.press("d");
  await path(`/s/${ada}`);

  // Files and events.
  await page.getByRole("tab", { name: "Files" }).click();
  await page.locator(".log .term").first().waitFor();
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByLabel(/^Download journal/).click()]);
  same(file.suggestedFilename(), `${ada}-journal.jsonl`);
  await page.getByRole("tab", { name: "Events" }).click();
  await page.getByRole("button", { name: /session_start/ }).click();
  await page.locator(".event pre").waitFor();
  check((await page.locator(".event pre").textContent()).includes('"prompt_hash"'), "the event, whole");

  // A relay and a race.
  const relay = one((head) => head.agents?.includes("limited"));
  await page.goto(`${origin}/s/${relay}`);
  await page.getByText("Rate limited: limit reached").waitFor();
  // What is handed over is long: its first words are seen, and the rest when it is unfolded.
  const handed = page.locator("details.asked");
  check((await handed.locator("summary").textContent()).startsWith("You take over a session of work from limited"), "a packet");
  check(!(await handed.locator("pre").isVisible()), "it is folded");
  await handed.locator("summary").click();
  await handed.locator("pre", { hasText: "# The task" }).waitFor();
  // Marks that fall together stand below each other, each to be clicked.
  await page.locator(".moment").nth(3).waitFor();
  await wait("none covers another", () => {
    const boxes = [...document.querySelectorAll(".moment")].map((moment) => moment.getBoundingClientRect());
    return boxes.every((a, n) => boxes.slice(n + 1).every((b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top));
  });
  same(await page.locator(".timeline .moment.handoff").count(), 1, "handoffs");
  await page.goto(`${origin}/s/${one((head) => head.kind === "race")}?tab=race`);
  await page.locator(".race > section").nth(1).waitFor();
  same(await page.locator(".race > section").count(), 2, "columns");
  check((await page.locator(".race .picked > header h2").textContent()) === "bob", "who was picked");

  // Statistics lead to the list.
  await page.goto(`${origin}/stats`);
  await page.locator(".cards strong").first().waitFor();
  same(await page.locator(".cards strong").first().textContent(), "8");
  await page.locator(".chart").first().getByRole("button", { name: "Table" }).click();
  await page.locator(".chart").first().getByRole("cell", { name: "57 %" }).waitFor();
  await page.locator(".chart").first().getByRole("button", { name: "Table" }).click();
  await page.locator(".stacked .column").first().click();
  await path("/?after=2026-11-22&before=2026-11-23");
  await page.goto(`${origin}/stats`);
  await page.getByRole("link", { name: "claude", exact: true }).click();
  await path("/?agent=claude");
  await wait("three with claude", () => document.querySelectorAll(".rows .row:not(.coming)").length === 3);

  for (const [chart, column, query, wanted] of [
    ["How long sessions took", ".columns a", "at_most=5s", 8],
    ["Iterations of loops", ".columns a:nth-child(2)", "iterations=2", 1],
    ["When sessions begin", ".hours a", "weekday=sun&hour=8", 8],
  ]) {
    await page.goto(`${origin}/stats`);
    await page.getByRole("region", { name: chart }).locator(column).first().click();
    await path(`/?${query}`);
    await rows.nth(wanted - 1).waitFor();
    same(await rows.count(), wanted, chart);
  }

  // What is set already stays where it takes less.
  await page.goto(`${origin}/stats?at_most=4s&after=2026-11-22T00:30`);
  await page.locator(".cards").waitFor();
  const linked = async (chart, column) => {
    const link = page.getByRole("region", { name: chart }).locator(column).first();
    return Object.fromEntries(new URL(await link.getAttribute("href"), origin).searchParams);
  };
  same(await linked("How long sessions took", ".columns a"), { at_most: "4s", after: "2026-11-22T00:30" }, "no longer than the filter says");
  same(await linked("Sessions over time", ".stacked .column"), { at_most: "4s", after: "2026-11-22T00:30", before: "2026-11-23" }, "from where the filter begins");

  // On a telephone: the open tab is seen, what is folded unfolds, and nothing is wider than the screen.
  await page.setViewportSize({ width: 380, height: 780 });
  for (const where of ["/", "/stats", "/?q=greeting", `/s/${relay}`, `/s/${loop}?tab=trail`, `/s/${loop}?tab=changes`, `/s/${loop}?tab=events`]) {
    await page.goto(origin + where);
    await page.locator(".row:not(.head), .cards, .hits, .tab").first().waitFor();
    await page.waitForFunction(() => !document.querySelector("[aria-busy=true]"));
    same(await page.evaluate(() => document.documentElement.scrollWidth), 380, where);
  }
  const { x, width } = await page.getByRole("tab", { name: "Events" }).boundingBox();
  check(x >= 0 && x + width <= 380, "the open tab", x, width);
  const command = page.getByText(`decklog show ${loop}`);
  check(!(await command.isVisible()), "the command is folded");
  await page.getByRole("button", { name: "More", exact: true }).click();
  await command.waitFor();
  await page.setViewportSize({ width: 1280, height: 800 });

  // Several are selected: compared, exported, discarded.
  await page.goto(origin);
  await rows.first().waitFor();
  await page.keyboard.press("j");
  await page.keyboard.press("x");
  await page.keyboard.press("j");
  await page.keyboard.press("x");
  await page.getByRole("button", { name: "Compare" }).click();
  await page.getByRole("heading", { name: "2 sessions compared" }).waitFor();
  await page.locator(".compare thead a").nth(1).waitFor();
  same(await page.locator(".compare thead a").count(), 2, "columns");
  await page.goto(origin);
  await rows.first().waitFor();
  await page.getByRole("checkbox").first().check();
  await page.getByRole("checkbox").nth(1).check();
  await page.getByRole("button", { name: "Export" }).click();
  const [archive] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: /Archive/ }).click()]);
  same(archive.suggestedFilename(), "decklog-2-sessions.tar.zst");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Discard…" }).click();
  await page.getByRole("button", { name: "Cancel" }).click();
  same(await rows.count(), 8, "nothing was discarded");
  await page.getByRole("button", { name: "Discard…" }).click();
  await page.getByRole("button", { name: "Discard", exact: true }).click();
  await wait("two are gone", () => document.querySelectorAll(".rows .row:not(.coming)").length === 6);

  // What cannot be found.
  await page.goto(`${origin}/s/20260101T000000-0000`);
  await page.getByRole("alert").waitFor();
  await page.goto(`${origin}/s/..%2f..%2fetc`);
  await page.getByRole("alert").waitFor();
  troubles.splice(0, troubles.length, ...troubles.filter((one) => !one.includes("404")));
  check(troubles.length === 0, troubles.join("\n"));
});
