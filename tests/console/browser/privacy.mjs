// Forgets a user after the confirmation, with and without JavaScript:
// `node privacy.mjs ... USER SECOND THIRD`, which are userIds; the third stays.
import { check, checkPaths, expectStatus, finish, link, open, openPlain, seen, url, values } from "./browser.mjs";

const [user, other, third] = values;
const page = await open({ colorScheme: "light" });
await page.goto(link);

// Find the user and download the export.
await page.click("nav a:has-text('Privacy')");
await page.fill("#id", user);
await page.click("main button:has-text('Find')");
await page.waitForSelector(".match");
const [download] = await Promise.all([
  page.waitForEvent("download"),
  page.click("text=Download the export"),
]);
seen.file = download.suggestedFilename();
seen.failure = await download.failure();

// A wrong confirmation erases nothing, and what was typed stays.
await page.fill("[name=reason]", "request 4711");
await page.fill("[name=confirmation]", `${user}?`);
await page.click("button.danger");
await page.waitForSelector(".problem");
expectStatus(422);
seen.problem = await page.innerText(".problem");
seen.reason = await page.inputValue("[name=reason]");
await check(page, "a wrong confirmation");

await page.fill("[name=confirmation]", user);
await page.keyboard.press("Enter");
await page.waitForSelector("[role=status]");
seen.notice = await page.innerText("[role=status]");
seen.ledger = await page.innerText("#ledger tbody tr");

// Without JavaScript.
const plain = await openPlain(page);
await plain.goto(`${url}/privacy?id=${other}`);
await plain.fill("[name=reason]", "request 4712");
await plain.fill("[name=confirmation]", other);
await plain.click("button.danger");
seen.plain = await plain.innerText("[role=status]");

// An audit in the background.
await page.goto(`${url}/operations`);
await page.click("button:has-text('Audit now')");
await page.waitForSelector("text=all agree");
seen.audited = new URL(page.url()).pathname;

await checkPaths(page, [
  "/privacy",
  `/privacy?id=${user}`,
  `/privacy?id=${third}`,
  "/operations",
  "/operations/replay",
  "/operations/replay?from=start",
  "/operations/audits",
]);
await finish();
