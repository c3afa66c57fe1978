// Edits a dead letter and resends it: `node letters.mjs ... TYPE`, the type that the event gets.
import { checkPaths, expectStatus, finish, link, open, openPlain, seen, url, values } from "./browser.mjs";

const [type] = values;
const page = await open({ colorScheme: "light" });
await page.goto(link);

// From the overview to the group, and from there to the letter.
await page.click(".status.problems a");
await page.click(".groups tbody a");
seen.buttons = await page.$$eval(".group-actions button", (found) => found.map((b) => b.innerText));
seen.group = page.url();
await page.click("#group tbody th a");
await page.waitForSelector("#event");
seen.letter = page.url();
seen.state = await page.innerText("h1 .tag");

// What is wrong is said, and what was typed stays.
const text = await page.inputValue("#event");
await page.fill("#event", text.replace('"type": 5', '"typ": 5'));
await page.click("text=Resend the edited event");
await page.waitForSelector("p.problem");
seen.problems = await page.$$eval("p.problem", (found) => found.map((p) => p.innerText));
seen.kept = (await page.inputValue("#event")).includes('"typ": 5');
expectStatus(422);

// Without JavaScript the corrected event is sent, too.
const plain = await openPlain(page);
await plain.goto(seen.letter);
await plain.fill("#event", text.replace('"type": 5', `"type": "${type}"`));
await plain.click("text=Resend the edited event");
seen.resent = await plain.innerText("h1 .tag");
seen.event = new URL(await plain.getAttribute("p.note a", "href"), url).href;

await checkPaths(page, [
  ...["/dead-letters", "/dead-letters?handled", "/actions"],
  ...[seen.group, seen.letter, `${url}/dead-letters/0:0`, `${url}/dead-letters/row:evt_1`],
]);
await page.goto(`${url}/actions`);
seen.actions = await page.$$eval(".actions-log tbody th", (found) => found.map((th) => th.innerText));
await finish();
