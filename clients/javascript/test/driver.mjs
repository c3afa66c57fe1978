// Lets tests in other languages call the client. It reads a JSON array with a function and its
// arguments from each line of stdin, such as `["track", {...}]`, and prints the result as JSON.
// In a browser, `["open", url]`, `["leave"]` and `["end"]` open and close a page.
//
//     node test/driver.mjs server|browser '{"apiKey": ..., "endpoint": ...}'
import { createInterface } from "node:readline";
import { init } from "../dist/merganser.mjs";
import { FakeBrowser } from "./fake-browser.mjs";

const [environment, json] = process.argv.slice(2);
const options = JSON.parse(json);

let client;
const browser = new FakeBrowser();
let page;

const pageFunctions = {
  open(url) {
    page = browser.open({ url: options.endpoint }, { url });
    client = page.merganser.init(options);
  },
  leave: () => page.leave(),
  end: () => page.end(),
};

if (environment === "server") client = init(options);
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...values] = JSON.parse(line);
  const result = await (pageFunctions[name] ?? client[name])(...values);
  console.log(JSON.stringify(result ?? null));
}
