// Goes shopping in a real browser: `node shop.mjs CHROMIUM URL USER`.
import { chromium } from "playwright-core";

const [executablePath, url, user] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const context = await browser.newContext();
const first = await context.newPage();
await first.goto(`${url}?utm_campaign=my-ad-campaign`);
await first.click("#cart");
// The visitor goes on before anything was sent, and the next page has nothing lost.
await first.close({ runBeforeUnload: true });
const page = await context.newPage();
await page.goto(url);
await page.click("#buy");
await page.fill("[name=user]", user);
await page.click("text=Sign in");
await page.waitForFunction(
  (expected) => document.getElementById("profile").textContent.includes(`"userId": "${expected}"`),
  user,
  { timeout: 60_000 },
);
console.log(await page.textContent("#profile"), await page.getAttribute("#console", "href"));
await browser.close();
