// How the page looks: every view at three widths, light and dark, compared with the pictures that are committed; and whether
// it can be read and reached by everybody.
//
//   node look.mjs LINK PICTURES NOW   (with UPDATE set, pictures are written)

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { accessible, check, difference, legible, open, withBrowser } from "./browser.mjs";

const [link, pictures, now] = process.argv.slice(2);
const WIDTHS = [380, 900, 1440];

/** So much of a picture may differ: fonts are drawn a little differently by each version of the browser. */
const TOLERANCE = 0.01;

const id = (kind) => ids[kind];
let ids = {};

const VIEWS = {
  sessions: () => "/",
  filtered: () => "/?outcome=failed&kind=run&sort=duration",
  search: () => "/?q=greeting",
  nothing: () => "/?project=elsewhere",
  transcript: () => `/s/${id("ada")}`,
  changes: () => `/s/${id("ada")}?tab=changes`,
  relay: () => `/s/${id("relay")}`,
  loop: () => `/s/${id("loop")}?tab=trail`,
  race: () => `/s/${id("race")}?tab=race`,
  files: () => `/s/${id("failed")}?tab=files&path=turns%2F001-output.md`,
  events: () => `/s/${id("loop")}?tab=events`,
  compare: () => `/compare?id=${id("race")}&id=${id("relay")}`,
  statistics: () => "/stats",
};

/** The sessions that are shown, by what they are. */
function named(heads) {
  const found = {};
  for (const head of heads) {
    if (head.kind === "loop") found.loop = head.id;
    else if (head.kind === "race") found.race = head.id;
    else if (head.agents?.includes("limited")) found.relay = head.id;
    else if (head.agents?.includes("ada")) found.ada = head.id;
    else if (head.outcome === "failed") found.failed = head.id;
  }
  return found;
}

await withBrowser(async (browser) => {
  const differ = [];
  let cookies = [];
  for (const width of WIDTHS) {
    for (const dark of [false, true]) {
      const { page, origin, troubles } = await open(browser, link, { cookies, now, width, height: width < 500 ? 780 : 900, dark });
      cookies = await page.context().cookies();
      ids = named(await page.evaluate(async () => (await fetch("/api/v1/sessions")).json()));
      for (const [name, path] of Object.entries(VIEWS)) {
        await page.goto(origin + path());
        await page.waitForLoadState("networkidle");
        await page.waitForFunction(() => !document.querySelector("[aria-busy=true]"));
        await page.evaluate(() => document.fonts.ready);
        const where = `${name}-${width}${dark ? "-dark" : ""}`;
        for (const fit of [accessible, legible]) await fit(page, where).catch((error) => differ.push(error.message));
        const shown = await page.screenshot({ animations: "disabled", caret: "hide" });
        const file = join(pictures, `${where}.png`);
        if (process.env.UPDATE || !existsSync(file)) {
          mkdirSync(pictures, { recursive: true });
          if (process.env.UPDATE) writeFileSync(file, shown);
          else differ.push(`${where}: there is no picture`);
          continue;
        }
        const by = await difference(browser, shown, readFileSync(file));
        if (by > TOLERANCE) {
          differ.push(`${where}: ${(by * 100).toFixed(2)} % differ`);
          if (process.env.KEEP) writeFileSync(join(process.env.KEEP, `${where}.png`), shown);
        }
      }
      check(troubles.length === 0, `${width} ${dark}:`, troubles.join("\n"));
      await page.context().close();
    }
  }
  check(differ.length === 0, `is not as it should be (see it with KEEP=DIR, take it with UPDATE=1):\n${differ.join("\n")}`);
});
