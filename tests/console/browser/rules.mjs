// Edits the rules, sees mistakes while typing, previews a profile and a sample, and applies:
// `node rules.mjs ... USER RULES`, where RULES is the text of new rules, whose first rule is kept.
import { check, checkPaths, finish, link, open, openPlain, seen, values } from "./browser.mjs";

const [user, rules] = values;
const page = await open();
await page.goto(link);

// While the text is typed, the page says what is wrong with it, or what it changes.
await page.click("nav a:has-text('Rules')");
await page.click("text=Write the first rules");
await page.evaluate(() => (window.stays = true));
await page.fill("#text", rules.replace("integer", "intger"));
await page.waitForSelector(".mistakes li");
seen.mistake = await page.innerText(".mistakes li");
await check(page, "mistakes");
await page.fill("#text", rules);
await page.waitForSelector("#found .note");
seen.valid = await page.innerText("#found .note");
seen.stays = await page.evaluate(() => window.stays);

// The preview has the difference, one profile and a sample.
await page.fill("#profile", user);
for (const colorScheme of ["dark", "light"]) {
  await page.emulateMedia({ colorScheme });
  await Promise.all([page.waitForNavigation(), page.click("button:has-text('Preview')")]);
  await check(page, `preview ${colorScheme}`);
}
seen.profile = await page.innerText("section[aria-labelledby=profile-title] tbody");
seen.sample = await page.innerText("#sample-title");

// A change of the text takes away the button that applies what was previewed.
await page.type("#text", "# more\n");
await page.waitForSelector(".apply", { state: "detached" });
await Promise.all([page.waitForNavigation(), page.click("button:has-text('Preview')")]);
seen.button = await page.innerText(".apply button");
await page.click(".apply button");
await page.waitForSelector("[role=status]");
seen.applied = new URL(page.url()).search;
seen.rules = await page.$$eval("table.rules tbody th", (cells) => cells.map((cell) => cell.innerText));
await checkPaths(page, ["/rules", "/rules/edit"]);

// Without JavaScript, a button checks the text.
const plain = await openPlain(page);
await plain.goto(new URL("/rules/edit", page.url()).href);
await plain.fill("#text", "rules: []\n");
await plain.click("button:has-text('Check')");
seen.plain = await plain.innerText("#found");

await finish();
