// Creates a key, sends an event with it, looks at the count, and revokes it: `node keys.mjs ... TRACK`,
// where TRACK is the URL of ingest's `track`.
import { check, checkPaths, expectStatus, finish, link, open, openPlain, seen, url, values } from "./browser.mjs";

const [track] = values;
const page = await open({ colorScheme: "light" });
await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin: url });
await page.goto(link);
await page.click("nav >> text=Keys");
await page.click("text=Create a key");
await check(page, "form");

// An error keeps what was typed; a publishable key shows its own fields only.
await page.fill("#name", "shop");
await page.check("#publishable");
seen.fields = [await page.isVisible("#origins"), await page.isVisible("[name='events:read']")];
await page.fill("#origins", "shop.example");
await page.click("text=Create the key");
seen.problem = await page.innerText(".problem");
expectStatus(422);
seen.kept = [await page.inputValue("#name"), await page.inputValue("#origins")];
await check(page, "error");
await page.fill("#origins", "https://shop.example");
await page.click("text=Create the key");

// The key is shown once, with a button that copies it and a command that works.
const key = await page.innerText("#key");
seen.key = key.slice(0, 7);
await page.click("h2:has-text('The key') .copy");
seen.copied = (await page.evaluate(() => navigator.clipboard.readText())) === key;
await page.click("h2:has-text('Send an event') .copy");
const command = await page.evaluate(() => navigator.clipboard.readText());
seen.command = command.startsWith("curl ") && command.includes(`Bearer ${key}`);
await check(page, "created");
seen.sent = [];
for (const origin of ["https://shop.example", "https://other.example"]) {
  const response = await fetch(track, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, origin },
    body: JSON.stringify({ type: "pageview", anonymousId: "person_1" }),
  });
  seen.sent.push(response.status);
}
await page.click("text=All keys");
seen.again = (await page.content()).includes(key);

// Ingest writes the counts after some seconds.
const row = page.locator("tr", { hasText: "shop" });
while (!(await row.innerText()).includes("1 refused")) {
  await page.waitForTimeout(500);
  await page.reload();
}
seen.counts = await row.innerText();
await checkPaths(page, ["/keys", "/keys/new"]);

// Revoke it, without JavaScript.
const plain = await openPlain(page);
await plain.goto(`${url}/keys`);
await plain.locator("tr", { hasText: "shop" }).locator("text=Revoke").click();
seen.preview = await plain.innerText("main");
await page.goto(plain.url());
await check(page, "revoke");
await plain.click("text=Revoke the key");
seen.notice = await plain.innerText("[role=status]");
await page.goto(`${url}/keys`);
seen.below = await page.locator("h2:has-text('Revoked') + .scroll").innerText();
await check(page, "revoked");

await finish();
