// What each flow uses: `node FLOW.mjs CHROMIUM URL LINK VALUE...`, where LINK logs in once.
// `finish` prints as JSON what was seen: errors, violations of the policy, requests to other hosts,
// what axe finds, and what the flow itself noted.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const [executablePath, url, link, ...values] = process.argv.slice(2);
export const seen = { errors: [], foreign: [], axe: [] };

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });

// Opens a page in a new context, which has no session yet.
export async function open(options) {
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

// Opens a page without JavaScript, with the session of another page.
export async function openPlain(page) {
  const storageState = await page.context().storageState();
  return open({ javaScriptEnabled: false, storageState });
}

// Notes what axe finds on the page that is open.
export async function check(page, name) {
  await page.evaluate(axe); // by the debugger, which the page's policy does not restrict
  const { violations } = await page.evaluate(() => window.axe.run());
  for (const { id, nodes } of violations) {
    seen.axe.push(`${name}: ${id} ${nodes.map((node) => node.html).join(" | ")}`);
  }
}

// Opens each path, light and dark, and notes what axe finds.
export async function checkPaths(page, paths) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const path of paths) {
      await page.goto(new URL(path, url).href);
      await check(page, `${path} ${colorScheme}`);
    }
  }
}

// Forgets the errors that Chromium reports for responses that a flow expects, such as 404.
export function expectStatus(status) {
  seen.errors = seen.errors.filter((error) => !error.includes(`status of ${status}`));
}

// Ends the flow.
export async function finish() {
  console.log(JSON.stringify(seen));
  await browser.close();
  process.exit();
}
