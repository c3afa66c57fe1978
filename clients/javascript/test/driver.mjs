// For tests in another language: calls the client as it is told, a line of JSON each, and says what
// each call returned. `["track", {...}]`; in a browser also `["open"]`, `["leave"]` and `["end"]`.
//
//     node test/driver.mjs server|browser '{"apiKey": ..., "endpoint": ...}'
import { createInterface } from "node:readline";
import { init } from "../dist/merganser.mjs";
import { Browser } from "./browser.mjs";

const [where, json] = process.argv.slice(2);
const options = JSON.parse(json);

let client;
const browser = new Browser();
let page;

const own = {
  open(url) {
    page = browser.open({ url: options.endpoint }, { url });
    client = page.merganser.init(options);
  },
  leave: () => page.leave(),
  end: () => page.end(),
};

if (where === "server") client = init(options);
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...values] = JSON.parse(line);
  const returned = await (own[name] ?? client[name])(...values);
  console.log(JSON.stringify(returned ?? null));
}
