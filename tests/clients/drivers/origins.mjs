// Sends events with two keys from a page in a real browser, in each way that pages have, and prints
// the statuses: `node origins.mjs CHROMIUM PAGE INGEST KEY KEY`.
import { chromium } from "playwright-core";

const [executablePath, url, ingest, ...keys] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage();
await page.goto(url);

const track = `${ingest}/api/v1/track`;
const body = (apiKey) => JSON.stringify({ apiKey, type: "t", userId: "1" });

const fetched = (key) =>
  page.evaluate(
    async ([to, text]) => (await fetch(to, { method: "POST", body: text })).status,
    [track, body(key)],
  );

async function beacon(key) {
  const answered = page.waitForResponse((response) => response.request().postData() === body(key));
  await page.evaluate(([to, text]) => navigator.sendBeacon(to, text), [track, body(key)]);
  return (await answered).status();
}

const image = (key) =>
  page.evaluate(
    (to) =>
      new Promise((loaded) => {
        const element = new Image();
        element.onload = () => loaded(200);
        element.onerror = () => loaded(403);
        element.src = to;
      }),
    `${ingest}/i?e=pv&uid=1&aid=${key}`,
  );

async function beaconWithoutReferrer(key) {
  await page.evaluate(() => {
    document.head.innerHTML += '<meta name="referrer" content="no-referrer">';
  });
  return beacon(key);
}

const statuses = {};
for (const [name, send] of Object.entries({
  fetch: fetched,
  beacon,
  image,
  "beacon without referrer": beaconWithoutReferrer,
})) {
  statuses[name] = [await send(keys[0]), await send(keys[1])];
}
console.log(JSON.stringify(statuses));
await browser.close();
