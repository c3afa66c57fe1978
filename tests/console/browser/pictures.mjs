// Takes pictures of pages: `node pictures.mjs CHROMIUM URL LINK NAME=PATH...`, where LINK logs in once.
// Writes NAME-light.png and NAME-dark.png.
import { chromium } from "playwright-core";

const [executablePath, url, link, ...pictures] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const context = await browser.newContext({
  viewport: { width: 1240, height: 860 },
  timezoneId: "UTC",
});
const page = await context.newPage();
await page.goto(link);
for (const picture of pictures) {
  const at = picture.indexOf("=");
  const [name, path] = [picture.slice(0, at), picture.slice(at + 1)];
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.goto(url + path);
    // A page with a stream never comes to rest.
    await page.waitForLoadState("networkidle", { timeout: 5000 }).catch(() => {});
    const height = await page.evaluate(() => document.querySelector("main").getBoundingClientRect().bottom);
    const clip = { x: 0, y: 0, width: 1240, height: Math.min(Math.ceil(height), 1200) };
    await page.screenshot({ path: `${name}-${colorScheme}.png`, fullPage: true, clip });
  }
}
await browser.close();
