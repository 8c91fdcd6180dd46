// How fast the page is: on the list, while one types, on a long session, while one scrolls. Prints JSON, times in milliseconds.
//
//   node measure.mjs LINK LONG WORDS LIVE TIMES
//
// LONG is a long session's id; WORDS are typed, separated by commas. LIVE is the id of a session that is being recorded: once
// "live" is printed, its agent says TIMES times when it did, "written at" and microseconds.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { open, withBrowser } from "./browser.mjs";

const [link, long, words, live, times] = process.argv.slice(2);
const TIMES = 7;

const median = (all) => [...all].sort((a, b) => a - b)[Math.floor(all.length / 2)];

await withBrowser(async (browser) => {
  const { page, origin } = await open(browser, link);
  // When what was asked for is on the screen: looked for at each frame.
  await page.addInitScript(() => {
    globalThis.until = (is) =>
      new Promise((resolve) => {
        const look = () => (is() ? resolve(performance.now()) : requestAnimationFrame(look));
        look();
      });
    globalThis.listed = until(() => document.querySelector(".rows .row:not(.coming)"));
  });
  const list = [];
  for (let n = 0; n < TIMES; n += 1) {
    await page.goto(origin);
    list.push(await page.evaluate(() => globalThis.listed));
  }

  // From a key to what it brings, which is there when `shown` finds what was typed: on the list, and where nothing is done but to
  // ask the same server for nothing.
  const typed = async (begin, shown) => {
    const keys = [];
    for (const word of words.split(",")) {
      await begin();
      let text = "";
      for (const letter of word) {
        text += letter;
        await page.evaluate((shown) => {
          globalThis.pressed = new Promise((resolve) => addEventListener("keydown", () => resolve(performance.now()), { once: true, capture: true }));
          globalThis.came = until(() => document.querySelector(shown));
        }, `[data-${shown}="${text}"]`);
        await page.keyboard.press(letter);
        keys.push(await page.evaluate(async () => (await globalThis.came) - (await globalThis.pressed)));
      }
    }
    return keys;
  };
  const keys = await typed(async () => {
    await page.goto(origin);
    await page.evaluate(() => globalThis.listed);
    await page.keyboard.press("/");
  }, "found");
  const bare = await typed(async () => {
    await page.goto(`${origin}/refused.css`);
    await page.evaluate(() => {
      const input = document.createElement("input");
      input.oninput = async () => {
        await (await fetch("/api/v1/sessions?limit=0")).text();
        document.body.dataset.typed = input.value;
      };
      document.body.replaceChildren(input);
      input.focus();
    });
  }, "typed");

  const opened = [];
  for (let n = 0; n < TIMES; n += 1) {
    await page.goto(`${origin}/stats`);
    await page.locator(".cards").waitFor();
    opened.push(
      await page.evaluate((id) => {
        const begun = performance.now();
        history.pushState(null, "", `/s/${id}`);
        dispatchEvent(new PopStateEvent("popstate"));
        return until(() => document.querySelector(".item .said, .item .card:not(.coming)")).then((at) => at - begun);
      }, long),
    );
  }

  // Frames while the list is scrolled by a notch of a wheel in each: 7,200 px in a second.
  const scrolled = [];
  for (let n = 0; n < TIMES; n += 1) {
    await page.goto(origin);
    await page.evaluate(() => globalThis.listed);
    scrolled.push(
      await page.evaluate(async () => {
        const box = document.querySelector(".rows");
        const times = [];
        let last = 0;
        for (let n = 0; n < 240; n += 1) {
          box.scrollTop += 120;
          const at = await new Promise((resolve) => requestAnimationFrame(resolve));
          if (last) times.push(at - last);
          last = at;
        }
        return times;
      }),
    );
  }
  const frames = scrolled.flat();

  await page.goto(`${origin}/s/${live}`);
  await page.locator(".live").waitFor();
  await page.evaluate((wanted) => {
    const told = new Map();
    globalThis.came = new Promise((resolve) => {
      const look = () => {
        const now = (performance.timeOrigin + performance.now()) * 1000;
        for (const [, at] of document.querySelector(".reading").textContent.matchAll(/written at (\d+)/g)) if (!told.has(at)) told.set(at, (now - Number(at)) / 1000);
        if (told.size === wanted) resolve([...told.values()]);
      };
      new MutationObserver(look).observe(document.querySelector(".reading"), { childList: true, subtree: true, characterData: true });
    });
  }, Number(times));
  console.log("live");
  const shown = await page.evaluate(() => globalThis.came);

  const assets = join(import.meta.dirname, "../../assets/assets");
  const script = readdirSync(assets).filter((name) => name.endsWith(".js"));
  const bytes = script.reduce((sum, name) => sum + gzipSync(readFileSync(join(assets, name)), { level: 9 }).length, 0);
  console.log(JSON.stringify({ list: median(list), key: median(keys), bare_key: median(bare), slowest_key: Math.max(...keys), slowest_bare_key: Math.max(...bare), open: median(opened), slowest_frame: median(scrolled.map((times) => Math.max(...times))), late_frames: frames.filter((time) => time > 32).length, frames: frames.length, live: median(shown), slowest_live: Math.max(...shown), script: bytes }));
});
