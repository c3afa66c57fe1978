// Follows a user from the overview to the profile and to an event: `node story.mjs ... USER`.
import { checkPaths, expectStatus, finish, link, open, openPlain, seen, url, values } from "./browser.mjs";

const [user] = values;
const page = await open({ colorScheme: "light", timezoneId: "Asia/Tokyo" });
await page.goto(link);

// The overview updates itself.
const before = await page.getAttribute(".asof time", "datetime");
await page.waitForFunction(
  (old) => document.querySelector(".asof time").getAttribute("datetime") !== old,
  before,
);

// Search, open the profile, read the graph.
await page.fill(".quick input", user);
await page.keyboard.press("Enter");
await page.click(".match h3 a");
await page.waitForSelector("#timeline");
seen.profile = page.url();
seen.joints = await page.$$eval(".graph .joint", (joints) => joints.length);
const time = page.locator(".timeline time").first();
seen.local = await time.innerText();
seen.utc = await time.getAttribute("title");

// A filter replaces only the timeline, and the URL can be shared.
await page.evaluate(() => (window.stays = true));
await page.fill("#type", "sign-in");
await page.click("#timeline button:has-text('Filter')");
await page.waitForFunction(() => document.querySelectorAll(".timeline tbody tr").length === 1);
seen.stays = await page.evaluate(() => window.stays);
seen.filtered = page.url();

// An event looks up its record by itself.
await page.click(".timeline .guid");
await page.waitForSelector("#record:has-text('to partition')");
seen.event = page.url();

await checkPaths(page, ["/", "/profiles", seen.profile, seen.event, "/events/evt_none", "/none"]);
expectStatus(404);

// Without JavaScript, the same filter works.
const plain = await openPlain(page);
await plain.goto(seen.profile);
await plain.fill("#type", "sign-in");
await plain.click("#timeline button:has-text('Filter')");
seen.plain = await plain.locator(".timeline tbody tr").count();

await finish();
