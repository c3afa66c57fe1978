// Watches events arrive, be refused and become resolved: `node live.mjs ... INGEST KEY`.
import { checkPaths, finish, link, open, openPlain, seen, url, values } from "./browser.mjs";

const [ingest, key] = values;

async function send(event) {
  const headers = { authorization: `Bearer ${key}` };
  const body = JSON.stringify(event);
  const response = await fetch(`${ingest}/api/v1/track`, { method: "POST", headers, body });
  return response.status;
}

const page = await open();
await page.goto(link);
await page.click("nav >> text=Live");
await page.waitForSelector("#live-state:has-text('appear by themselves')");
seen.empty = await page.isVisible(".live .empty");

// An event arrives without a reload, and turns to resolved. Its markup is text.
await page.evaluate(() => (window.stays = true));
await send({ type: "<b>sign-in</b>", userId: "ann", anonymousId: "laptop", data: { plan: "pro" } });
await page.waitForSelector("#live-rows tr:has-text('<b>sign-in</b>')");
await page.waitForSelector("#live-rows a.tag:has-text('resolved')");
seen.emptyLater = await page.isVisible(".live .empty");

// A refused event arrives with the reason.
seen.status = await send({ type: "buy", userId: "x".repeat(300) });
await page.waitForSelector("#live-rows tr:has-text('refused') .pair:has-text('userId has 300 characters')");
seen.rows = await page.locator("#live-rows tr").count();
seen.stays = await page.evaluate(() => window.stays);

// Paused, the page shows nothing new; then it shows what it missed.
await page.click("#live-pause");
await page.waitForSelector("#live-state:has-text('Paused')");
await send({ type: "while-paused", userId: "ann" });
const other = await open({ storageState: await page.context().storageState() });
await other.goto(`${url}/live`);
await other.waitForSelector("#live-rows tr:has-text('while-paused')");
seen.paused = await page.locator("#live-rows tr:has-text('while-paused')").count();
await page.click("#live-pause");
await page.waitForSelector("#live-rows tr:has-text('while-paused')");

// Very many events stay at most 200 rows, and the page counts the rest.
const events = Array.from({ length: 1000 }, (_, number) => ({ type: "many", userId: `user-${number}` }));
for (let round = 0; round < 15; round++) {
  const body = JSON.stringify({ events });
  await fetch(`${ingest}/api/v1/batch`, { method: "POST", headers: { authorization: `Bearer ${key}` }, body });
  await page.waitForFunction(
    (least) => document.querySelectorAll("#live-rows tr").length >= least,
    Math.min(200, 4 + 15 * round),
  );
}
await page.waitForSelector("#live-counts:has-text('more')");
seen.most = await page.locator("#live-rows tr").count();

// A filter is in the URL.
await page.fill("#id", "ann");
await page.click("form.filters button");
await page.waitForURL(/id=ann/);
await send({ type: "filtered", userId: "ann" });
await page.waitForSelector("#live-rows tr:has-text('filtered')");
await page.locator("#live-rows tr:has-text('filtered') a.tag:has-text('resolved')").click();
await page.waitForSelector("#timeline");
seen.profile = new URL(page.url()).pathname;

await checkPaths(page, ["/live", "/live?type=nothing"]);

// Without JavaScript, the page shows the newest events and a link that refreshes it.
const plain = await openPlain(page);
await plain.goto(`${url}/live?type=buy`);
seen.plain = await plain.locator("#live-rows tr").count();
await plain.click("text=Refresh");
seen.refreshed = new URL(plain.url()).search;

await finish();
