// The option `debug`: what the client prints on the console.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { init } from "../dist/merganser.mjs";
import { FakeBrowser, shortIntervals } from "./fake-browser.mjs";
import { FakeIngest, acceptAllBut, refuse, respond } from "./fake-ingest.mjs";

const KEY = "mk_0123456789";

let ingest;
let printed;
const original = { ...console };

beforeEach(async () => {
  ingest = await FakeIngest.started();
  printed = [];
  for (const level of ["debug", "warn", "error"]) {
    console[level] = (...values) => printed.push([level, ...values]);
  }
});
afterEach(async () => {
  Object.assign(console, original);
  await ingest.stop();
});

const client = (options = {}) =>
  init({ apiKey: KEY, endpoint: ingest.url, ...shortIntervals, debug: true, ...options });

/** What was printed: level, text, and the type of the event. */
const lines = () => printed.map(([level, text, event]) => [level, text, event?.type]);

test("it prints accepted and refused events", async () => {
  ingest.behavior = acceptAllBut("bad");
  const merganser = client();
  merganser.track({ type: "good", userId: "1", data: { total: 5 } });
  merganser.track({ type: "bad", userId: "1" });
  await merganser.close();
  assert.deepEqual(lines(), [
    ["debug", "merganser: accepted", "good"],
    ["warn", "merganser: dropped: no bad", "bad"],
  ]);
  assert.deepEqual(printed[0][2].data, { total: 5 });
});

test("it prints refused events also with onDrop, which is still called", async () => {
  ingest.behavior = acceptAllBut("bad");
  const dropped = [];
  const merganser = client({ onDrop: (event, reason) => dropped.push([event.type, reason]) });
  merganser.track({ type: "bad", userId: "1" });
  await merganser.close();
  assert.deepEqual(lines(), [["warn", "merganser: dropped: no bad", "bad"]]);
  assert.deepEqual(dropped, [["bad", "no bad"]]);
});

test("it prints each retry and its reason", async () => {
  ingest.next = [refuse(503), (response) => response.destroy()];
  const merganser = client();
  merganser.track({ type: "t", userId: "1" });
  await merganser.close();
  assert.match(printed[0].join(" "), /^warn merganser: retry in \d+ ms: status 503 because 503$/);
  assert.match(printed[1].join(" "), /^warn merganser: retry in \d+ ms: no response$/);
  assert.deepEqual(lines()[2], ["debug", "merganser: accepted", "t"]);
});

test("it prints events that are not sent without consent", async () => {
  const merganser = client({ consent: false });
  merganser.track({ type: "t", userId: "1" });
  assert.deepEqual(printed, [["debug", "merganser: not sent without consent", "t"]]);
  await merganser.close();
});

test("by default accepted events and retries are not printed", async () => {
  ingest.next = [refuse(503)];
  const merganser = client({ debug: undefined });
  merganser.track({ type: "t", userId: "1" });
  await merganser.close();
  assert.deepEqual(ingest.types, ["t"]);
  assert.deepEqual(printed, []);
});

test("no key is printed, even if the server repeats it", async () => {
  ingest.next = [
    (response) => respond(response, 401, { message: `unknown key ${KEY}` }),
    (response) =>
      respond(response, 200, { events: [{ success: false, message: `not with ${KEY}` }] }),
  ];
  const merganser = client();
  merganser.track({ type: "t", userId: "1" });
  await merganser.close();
  const text = JSON.stringify(printed);
  assert.match(text, /unknown key \[apiKey\]/);
  assert.match(text, /not with \[apiKey\]/);
  assert.ok(!text.includes(KEY), text);
});

test("the attribute data-debug turns it on", async () => {
  const browser = new FakeBrowser();
  const open = (debug) => browser.open(ingest, { tag: { apiKey: KEY, debug, consent: "false" } });
  const [on, off] = [open("true"), open("false")];
  browser.close();
  assert.deepEqual(on.debugLines, [["merganser: not sent without consent", "pageview"]]);
  assert.deepEqual(off.debugLines, []);
});
