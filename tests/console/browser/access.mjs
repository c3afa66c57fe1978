// Logs in, is refused from another site, loses the session, and logs out:
// `node access.mjs ... KEY PATH`, where PATH is the page of a profile. Sessions must be short.
import { createServer } from "node:http";
import { checkPaths, expectStatus, finish, link, open, seen, url, values } from "./browser.mjs";

const [key, path] = values;
const page = await open();
await checkPaths(page, ["/profiles?q=ann"]); // shows the login

await page.goto(link);
seen.first = new URL(page.url()).pathname;
await page.keyboard.press("Tab");
seen.focus = await page.evaluate(() => document.activeElement.textContent);

// The session ends. The overview, which asks by itself, leads to the login.
const left = await page.context().newPage();
await left.goto(url + path);
await page.waitForURL(/\/login/);

// A page that stayed open leads there when it is used, and the login leads back to what was asked.
await left.fill("#type", "sign-in");
await left.click("#timeline button:has-text('Filter')");
await left.waitForURL(/\/login/);
expectStatus(401);
await left.fill("#key", key);
await left.click("button:has-text('Log in')");
await left.waitForSelector("#timeline");
seen.back = new URL(left.url()).search;

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

await left.click("text=Log out");
seen.last = new URL(left.url()).pathname;
await left.goto(url + path);
seen.loggedOut = new URL(left.url()).pathname;

await finish();
