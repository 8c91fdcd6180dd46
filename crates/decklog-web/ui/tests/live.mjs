// Sessions while they happen: rows that come and change, a transcript that grows and is followed.
//
//   node live.mjs LINK   (DECKLOG is the program, HOME and the working directory are the test's)

import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { check, open, same, withBrowser } from "./browser.mjs";

const [link] = process.argv.slice(2);
const LINES = 120;

/** An agent that prints a line for each that is asked for. */
const AGENT = `for n in 1 2 3 4; do
  while ! test -e "$HOME/go.$n"; do sleep 0.02; done
  for line in $(seq 1 ${LINES}); do echo "part $n, line $line"; done
done`;
const go = (part) => writeFileSync(join(process.env.HOME, `go.${part}`), "");

await withBrowser(async (browser) => {
  const { page, origin, troubles } = await open(browser, link);
  await page.getByRole("heading", { name: "No sessions yet" }).waitFor();
  const agent = spawn(process.env.DECKLOG, ["run", "--", "sh", "-c", AGENT], { stdio: "ignore" });
  const over = new Promise((resolve) => agent.on("exit", resolve));
  // Whatever comes of this, it does not go on.
  process.on("exit", () => agent.kill("SIGINT"));
  const row = page.locator(".rows .row").first();
  await row.waitFor();
  await row.locator(".badge.active").waitFor();
  // Menus offer what has come since.
  await page.getByRole("button", { name: "Project", exact: true }).first().click();
  await page.getByRole("group", { name: "Project" }).getByRole("checkbox").first().waitFor();
  await page.keyboard.press("Escape");
  await row.locator("a.open").click();
  await page.locator(".live").waitFor();

  go(1);
  await page.getByText(`part 1, line ${LINES}`, { exact: false }).last().waitFor();
  const bottom = () => page.locator(".reading > .scroll").evaluate((box) => box.scrollHeight - box.scrollTop - box.clientHeight);
  const settled = async (is) => {
    for (let tries = 0; tries < 200 && !is(await bottom()); tries += 1) await page.waitForTimeout(25);
    return bottom();
  };
  check((await settled((left) => left < 80)) < 80, "the end is followed");

  // A page that nobody sees holds no stream; what came meanwhile is there when it is seen again.
  const hide = (hidden) =>
    page.evaluate((is) => {
      Object.defineProperty(document, "hidden", { value: is, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  const has = (words) => page.evaluate((text) => document.querySelector(".said .term")?.textContent.includes(text), words);
  await hide(true);
  go(2);
  const recorded = async () => (await page.evaluate(async (path) => (await fetch(path)).text(), `/api/v1${new URL(page.url()).pathname.replace("/s/", "/sessions/")}/events`)).includes(`part 2, line ${LINES}`);
  while (!(await recorded())) await page.waitForTimeout(25);
  check(!(await has("part 2")), "nothing came to a page that nobody sees");
  await hide(false);
  await page.waitForFunction((lines) => document.querySelector(".said .term")?.textContent.includes(`part 2, line ${lines}`), LINES);

  // Who has scrolled away stays there.
  await page.locator(".reading > .scroll").evaluate((box) => box.scrollTo(0, 0));
  await page.getByRole("button", { name: "Follow the end" }).waitFor();
  go(3);
  await page.waitForFunction((lines) => document.querySelector(".said .term")?.textContent.includes(`part 3, line ${lines}`), LINES);
  check((await bottom()) > 400, "it stays where it was scrolled to");
  await page.getByRole("button", { name: "Follow the end" }).click();
  await settled((left) => left < 80);

  // Its files and its events grow, too.
  await page.getByRole("tab", { name: "Events" }).click();
  await page.locator(".events [data-index]").first().waitFor();
  const events = () => page.locator(".events .space").evaluate((space) => space.clientHeight);
  const fewer = await events();
  const second = await page.context().newPage();
  await second.goto(`${page.url().split("?")[0]}?tab=files`);
  await second.getByText("part 3, line 1", { exact: false }).first().waitFor();
  go(4);
  await second.getByText(`part 4, line ${LINES}`, { exact: false }).first().waitFor();
  await second.close();
  await page.waitForFunction((height) => document.querySelector(".events .space").clientHeight > height, fewer);
  await page.getByRole("tab", { name: "Transcript" }).click();
  await over;
  await page.locator(".about .badge.success").waitFor();
  await page.locator(".live").waitFor({ state: "detached" });
  await settled((left) => left < 80);
  // Nothing was lost, nothing came twice, and it is what one sees who comes afterwards.
  const text = () => page.locator(".said .term").first().textContent();
  const live = await text();
  same(live.trim().split("\n").length, 4 * LINES, "lines");
  await page.reload();
  await page.locator(".said .term").first().waitFor();
  same(await text(), live, "the text afterwards");
  await page.goto(origin);
  await page.locator(".rows .row .badge.success").first().waitFor();

  // A session that is open when it is resumed is live again; one that is discarded is gone.
  const decklog = (...args) => spawn(process.env.DECKLOG, args, { stdio: "ignore" });
  const ended = (child) => new Promise((resolve) => child.on("exit", resolve));
  await ended(decklog("run", "ada", "Begin."));
  await page.locator(".rows .row", { hasText: "Begin." }).locator("a.open").click();
  await page.getByText("ada, time 1").waitFor();
  check((await page.locator(".live").count()) === 0, "it is over");
  const resumed = ended(decklog("resume", "@", "Go on."));
  await page.locator(".live").waitFor();
  writeFileSync(join(process.env.HOME, "go.ada"), "");
  await page.getByText("ada, time 2").waitFor();
  await resumed;
  await page.locator(".live").waitFor({ state: "detached" });
  await ended(decklog("discard", "-y", "@"));
  await page.getByRole("alert").getByText("there is no session").waitFor();
  troubles.splice(0, troubles.length, ...troubles.filter((one) => !one.includes("404")));
  // What one is at stays what one is at.
  await page.goto(origin);
  await page.locator(".rows .row:not(.coming)").first().waitFor();
  await page.keyboard.press("j");
  const at = await page.locator(".row.here .id").textContent();
  await ended(decklog("run", "--", "true"));
  await page.locator(".rows .row:not(.coming)").nth(1).waitFor();
  same(await page.locator(".row.here .id").textContent(), at, "where one is");
  check((await page.locator(".row.here").getAttribute("aria-rowindex")) === "3", "one below what came");

  // What is searched for is found when it comes.
  await page.goto(`${origin}/?q=zugzwang`);
  await page.getByRole("heading", { name: "Nothing found" }).waitFor();
  spawn(process.env.DECKLOG, ["run", "--", "sh", "-c", "echo zugzwang"], { stdio: "ignore" });
  await page.locator(".hits li", { hasText: "zugzwang" }).first().waitFor();
  check(troubles.length === 0, troubles.join("\n"));
});
