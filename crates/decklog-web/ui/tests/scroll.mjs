// A list that is scrolled: what is no longer seen is no longer in memory.
//
//   node scroll.mjs LINK   (more sessions than are seen)

import { check, open, withBrowser } from "./browser.mjs";

const [link] = process.argv.slice(2);
const TIMES = 6;

await withBrowser(async (browser) => {
  const { page, troubles } = await open(browser, link, { height: 360 });
  await page.locator(".rows .row").first().waitFor();
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Performance.enable");
  const nodes = async () => {
    await devtools.send("HeapProfiler.collectGarbage");
    const { metrics } = await devtools.send("Performance.getMetrics");
    return metrics.find(({ name }) => name === "Nodes").value;
  };
  const thereAndBack = () =>
    page.locator(".rows").evaluate(async (box) => {
      const end = box.scrollHeight - box.clientHeight;
      for (const by of [110, -110]) {
        for (let step = 0; step * 110 < end; step += 1) {
          box.scrollTop += by;
          await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
        }
      }
      return end;
    });
  check((await thereAndBack()) > 1000, "there is something to scroll");
  const before = await nodes();
  for (let time = 0; time < TIMES; time += 1) await thereAndBack();
  const after = await nodes();
  check(after < before * 1.5, `${before} nodes before, ${after} after`);
  check(troubles.length === 0, ...troubles);
});
