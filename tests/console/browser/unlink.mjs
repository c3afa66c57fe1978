// Undoes a wrong merge on the page of a profile, and reverses that: `node unlink.mjs ... PATH`.
import { checkPaths, finish, link, open, openPlain, seen, url, values } from "./browser.mjs";

const [path] = values;
const page = await open();
await page.goto(link);
await page.goto(url + path);
const rows = page.locator("#identity tbody tr");
seen.before = await rows.count();

// The preview, then the button that says what it does.
await page.locator("#identity tr:has-text('merged') a:has-text('Unlink')").first().click();
seen.preview = await page.innerText(".preview");
const preview = page.url();
await checkPaths(page, [preview]);
await page.fill("#reason", "signed in on the wrong tablet");
await page.click("button:has-text('Unlink this event')");
await page.waitForSelector("#link:has-text('signed in on the wrong tablet')");
const event = page.url();
await checkPaths(page, [event, path]);
seen.after = await rows.last().innerText();

// Undo, without JavaScript.
const plain = await openPlain(page);
await plain.goto(event);
await plain.click("a:has-text('Relink')");
await plain.fill("#reason", "the tablet was right");
await plain.click("button:has-text('Relink this event')");
seen.undone = await plain.innerText("#link");

await finish();
