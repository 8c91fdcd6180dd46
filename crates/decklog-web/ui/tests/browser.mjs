// A browser on the page of a `decklog ui` that runs: what every test needs.
//
// DECKLOG_UI_MODULES is the directory that holds node_modules. Whatever the page logs as an error, asks of another
// origin, or throws, fails the test.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const load = createRequire(join(process.env.DECKLOG_UI_MODULES, "package.json"));
const { chromium } = load("playwright-core");
const AXE = readFileSync(load.resolve("axe-core/axe.min.js"), "utf8");

/** How long anything may take on a machine that is busy, in milliseconds. */
const LONG = 60_000;

export function check(is, ...words) {
  if (!is) throw new Error(words.map((word) => (typeof word === "string" ? word : JSON.stringify(word))).join(" "));
}

export function same(found, wanted, what = "") {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
  check(a === b, what, "found", a, "wanted", b);
}

/** Opens the browser, and ends it whatever comes of `work`. */
export async function withBrowser(work) {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--font-render-hinting=none", "--disable-lcd-text"] });
  try {
    await work(browser);
  } finally {
    await browser.close();
  }
}

/** A page that is let in by `link`, or with the cookies of one that was, and a list of what went wrong on it. */
export async function open(browser, link, { width = 1280, height = 800, dark = false, cookies = [], now = null, expected = () => false } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? "dark" : "light", reducedMotion: "reduce", timezoneId: "UTC", locale: "en-GB" });
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  context.setDefaultTimeout(LONG);
  await context.addCookies(cookies);
  const page = await context.newPage();
  if (now) await page.clock.setFixedTime(now);
  const troubles = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !expected(message.text())) troubles.push(`console: ${message.text()} ${message.location().url}`);
  });
  page.on("pageerror", (error) => troubles.push(`error: ${error.stack}`));
  page.on("dialog", (dialog) => {
    troubles.push(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  const origin = new URL(link).origin;
  page.on("request", (request) => {
    if (!request.url().startsWith(origin)) troubles.push(`asked ${request.url()}`);
  });
  await page.goto(link);
  await page.waitForURL((url) => !url.search.includes("token"));
  await page.waitForSelector("#main");
  return { page, origin, troubles };
}

/** What axe-core has to say. It is put in from outside, past the page's policy, as an extension would be. */
export async function accessible(page, where) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const told = violations.map(({ id, help, nodes }) => `${id}: ${help}\n    ${nodes.slice(0, 4).map((node) => `${node.target} ${node.failureSummary?.replaceAll("\n", " ")}`).join("\n    ")}`);
  check(told.length === 0, `${where}:\n  ${told.join("\n  ")}`);
}

/** Nothing is smaller than 12 px, and nothing makes the page wider than the window. */
export async function legible(page, where) {
  const found = await page.evaluate(() => {
    const small = [];
    for (const element of document.querySelectorAll("body *")) {
      const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
      const style = getComputedStyle(element);
      if (hasText && style.visibility !== "hidden" && Number.parseFloat(style.fontSize) < 12 && element.getClientRects().length > 0 && Number.parseFloat(style.fontSize) > 0) small.push(`${element.tagName}.${element.className}: ${style.fontSize}`);
    }
    return { small: [...new Set(small)], wide: document.documentElement.scrollWidth - innerWidth };
  });
  same(found.small, [], `${where}: too small`);
  check(found.wide <= 0, where, `is ${found.wide} px wider than the window`);
}

/** The share of pixels in which two PNG pictures differ, and whether they are of one size. */
export async function difference(browser, one, other) {
  const page = await browser.newPage();
  try {
    return await page.evaluate(
      async ([a, b]) => {
        const read = async (data) => {
          const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${data}`)).blob());
          const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
          const context = canvas.getContext("2d");
          context.drawImage(bitmap, 0, 0);
          return context.getImageData(0, 0, bitmap.width, bitmap.height);
        };
        const [first, second] = [await read(a), await read(b)];
        if (first.width !== second.width || first.height !== second.height) return 1;
        let differ = 0;
        for (let at = 0; at < first.data.length; at += 4) {
          const by = Math.max(...[0, 1, 2].map((n) => Math.abs(first.data[at + n] - second.data[at + n])));
          if (by > 48) differ += 1;
        }
        return differ / (first.data.length / 4);
      },
      [one, other].map((png) => png.toString("base64")),
    );
  } finally {
    await page.close();
  }
}
