// Opens /docs in a real browser and sends the first request: `node docs_page.mjs CHROMIUM URL KEY`.
// Prints as JSON what the page lists, what it loads, and every error and policy violation.
import { chromium } from "playwright-core";

const [executablePath, url, key] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage();
const errors = [];
const requests = [];
page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
page.on("pageerror", (error) => errors.push(String(error)));
page.on("request", (request) => requests.push(request.url()));
await page.exposeFunction("reportViolation", (text) => errors.push(text));
await page.addInitScript(() => {
  document.addEventListener("securitypolicyviolation", (violation) =>
    window.reportViolation(`${violation.violatedDirective} ${violation.blockedURI}`),
  );
});

await page.goto(`${url}/docs`);
await page.waitForSelector(".opblock");
const operations = await page.$$eval(".opblock-summary", (summaries) =>
  summaries.map((summary) => {
    const path = summary.querySelector("[data-path]").dataset.path;
    return `${summary.querySelector(".opblock-summary-method").textContent} ${path}`;
  }),
);

await page.click(".btn.authorize");
await page.locator(".auth-container input").first().fill(key);
await page.locator(".auth-btn-wrapper .authorize").first().click();
await page.click(".btn-done");
const first = page.locator(".opblock").first();
await first.locator(".opblock-summary-control").click();
await first.locator(".try-out__btn").click();
const body = first.locator("textarea.body-param__text");
if (await body.count()) await body.fill('{"type": "pageview", "userId": "42"}');
await first.locator(".execute").click();
const status = await first.locator(".live-responses-table .response-col_status").nth(1).innerText();

console.log(JSON.stringify({ operations, requests, errors, status }));
await browser.close();
