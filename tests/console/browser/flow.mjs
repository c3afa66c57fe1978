// Uses the console as a person does: `node flow.mjs CHROMIUM URL LINK USER`, where LINK logs in once.
// Prints as JSON what it saw: errors, violations of the policy, requests to other hosts, what axe finds.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [executablePath, url, link, user] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const seen = { errors: [], foreign: [], axe: [] };

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });

async function open(options) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  await context.exposeFunction("reportViolation", (text) => seen.errors.push(text));
  await context.addInitScript(() =>
    document.addEventListener("securitypolicyviolation", (violation) =>
      window.reportViolation(`${violation.violatedDirective} ${violation.blockedURI}`),
    ),
  );
  const page = await context.newPage();
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));
  page.on("request", (request) => {
    if (!request.url().startsWith(url)) seen.foreign.push(request.url());
  });
  return page;
}

async function check(page, name) {
  await page.evaluate(axe); // by the debugger, which the page's policy does not restrict
  const { violations } = await page.evaluate(() => window.axe.run());
  for (const { id, nodes } of violations) {
    seen.axe.push(`${name}: ${id} ${nodes.map((node) => node.html).join(" | ")}`);
  }
}

const page = await open({ colorScheme: "light", timezoneId: "Asia/Tokyo" });
await page.goto(`${url}/profiles?q=${user}`);
await check(page, "login");
await page.goto(link);
seen.first = new URL(page.url()).pathname;
await page.keyboard.press("Tab");
seen.focus = await page.evaluate(() => document.activeElement.textContent);

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

for (const colorScheme of ["light", "dark"]) {
  await page.emulateMedia({ colorScheme });
  for (const path of ["/", "/profiles", seen.profile, seen.event, "/events/evt_none", "/none"]) {
    await page.goto(new URL(path, url).href);
    await check(page, `${path} ${colorScheme}`);
  }
}
// The two pages that do not exist.
seen.errors = seen.errors.filter((error) => !error.includes("404"));

// Another site cannot send a form, and a link there leads to the page.
const server = createServer((_, response) => {
  response.setHeader("content-type", "text/html");
  response.end(
    `<title>x</title><a href="${url}/profiles">x</a><form method=post action="${url}/logout"><button>x</button></form>`,
  );
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const other = await page.context().newPage();
await other.goto(`http://localhost:${server.address().port}/`);
const [refused] = await Promise.all([other.waitForResponse(/logout/), other.click("button")]);
seen.forged = refused.status();
await other.goto(`http://localhost:${server.address().port}/`);
await other.click("a");
await other.waitForSelector("h1:has-text('Profiles')");
server.close();

// Without JavaScript, the same filter works.
const plain = await open({
  javaScriptEnabled: false,
  storageState: await page.context().storageState(),
});
await plain.goto(seen.profile);
await plain.fill("#type", "sign-in");
await plain.click("#timeline button:has-text('Filter')");
seen.plain = await plain.locator(".timeline tbody tr").count();

await page.click("text=Log out");
seen.last = new URL(page.url()).pathname;
await page.goto(seen.profile);
seen.loggedOut = new URL(page.url()).pathname;

console.log(JSON.stringify(seen));
await browser.close();
process.exit();
