// What agents write does nothing on the page: every view of sessions that are full of it.
//
//   node hostile.mjs LINK

import { check, open, withBrowser } from "./browser.mjs";

const [link] = process.argv.slice(2);
const TABS = ["", "changes", "files", "events"];

await withBrowser(async (browser) => {
  const { page, origin, troubles } = await open(browser, link);
  await page.locator(".rows .row:not(.coming)").first().waitFor();
  const heads = await page.evaluate(async () => (await fetch("/api/v1/sessions")).json());
  const look = async (where) => {
    await page.waitForLoadState("networkidle");
    await page.evaluate(() => document.querySelectorAll("details").forEach((one) => (one.open = true)));
    await page.waitForLoadState("networkidle");
    const found = await page.evaluate(() => ({
      ran: globalThis.pwned,
      // What only a script or a style of somebody else's would have made.
      acting: /[\u001b\u007f-\u009f\u202a-\u202e\u2066-\u2069]/.exec(document.querySelector("#app").textContent)?.input.slice(0, 100),
      odd: [...document.querySelectorAll("#app :is(script, img, iframe, object, embed, form, style, link, base, svg svg, math)")].map((one) => one.outerHTML),
      handlers: [...document.querySelectorAll("#app *")].flatMap((one) => [...one.attributes].filter(({ name, value }) => name.startsWith("on") || /^\s*javascript:/i.test(value)).map(({ name, value }) => `${name}=${value}`)),
    }));
    check(found.ran === undefined && found.acting === undefined && found.odd.length === 0 && found.handlers.length === 0, where, found);
  };
  await look("the list");
  for (const head of heads) {
    for (const tab of TABS) {
      await page.goto(`${origin}/s/${head.id}?tab=${tab}`);
      await page.locator(".tab").waitFor();
      await look(`${head.id} ${tab}`);
    }
  }
  await page.goto(`${origin}/?q=pwned`);
  await page.locator(".hits li").first().waitFor();
  await look("a search");
  await page.goto(`${origin}/stats`);
  await page.locator(".cards").waitFor();
  await look("statistics");
  check(troubles.length === 0, troubles.join("\n"));
});
