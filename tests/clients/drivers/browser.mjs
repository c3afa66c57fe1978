// Runs a driver in a real browser: `node browser.mjs CHROMIUM DRIVER URL KEY USER VISITOR`.
//
// The driver is bundled as a company would bundle it, and runs in a page of another origin than the
// gateway's, so that the browser applies CORS. Clients send in the background, so the page stays
// open until standard input ends.
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";

const [chromiumPath, driver, url, key, user, visitor] = process.argv.slice(2);

const bundle = await build({
  stdin: {
    contents: `import send from "./${driver}.js"; window.sent = send(${JSON.stringify({ url, key, user, visitor })});`,
    resolveDir: fileURLToPath(new URL(".", import.meta.url)),
  },
  bundle: true,
  write: false,
  platform: "browser",
  define: { "process.env.NODE_ENV": '"production"', global: "window" },
  logLevel: "error",
});

const server = createServer((request, response) => {
  const script = request.url === "/driver.js";
  response.setHeader("content-type", script ? "text/javascript" : "text/html; charset=utf-8");
  response.end(
    script
      ? bundle.outputFiles[0].text
      : "<!doctype html><title>Shop</title><body><script src=/driver.js></script>",
  );
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));

const browser = await chromium.launch({
  executablePath: chromiumPath,
  args: ["--no-sandbox"],
});
const page = await browser.newPage();
page.on("console", (message) => console.log(message.text()));
page.on("pageerror", (error) => console.log(String(error)));
await page.goto(`http://localhost:${server.address().port}/`);
await page.evaluate(() => window.sent);
console.log("sent");
process.stdin.resume();
await new Promise((ended) => process.stdin.on("end", ended));
await browser.close();
process.exit(); // what is left are connections that are kept alive
