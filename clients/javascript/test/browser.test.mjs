// In a browser: the visitor's ids, queued events that outlive a page, tabs, consent, script tag.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { FakeBrowser } from "./fake-browser.mjs";
import { eventually } from "./eventually.mjs";
import { FakeIngest, accept, acceptAfter, refuse } from "./fake-ingest.mjs";

let ingest;
let browser;
beforeEach(async () => {
  ingest = await FakeIngest.started();
  browser = new FakeBrowser();
});
afterEach(async () => {
  browser.close();
  await ingest.stop();
});

/** Wait longer than any timer of the client. */
const waitForTimers = () => sleep(100);

const ids = () => ingest.events.map((event) => [event.type, event.userId, event.anonymousId]);

test("a visitor views pages, signs in, and signs out", async () => {
  const home = browser.init(
    ingest,
    {},
    {
      url: "https://shop.example/shoes?utm_source=google&utm_campaign=my+ad&size=42#top",
      referrer: "https://google.example/",
    },
  );
  home.merganser.page();
  home.merganser.page({ path: "/virtual", layout: "b" });
  await eventually(() => ingest.types, ["pageview", "pageview"]);
  const [first, second] = ingest.events.map((event) => event.data);
  assert.deepEqual(first, {
    path: "/shoes",
    url: "https://shop.example/shoes?utm_source=google&utm_campaign=my+ad&size=42#top",
    referrer: "https://google.example/",
    title: "Shop",
    utm_source: "google",
    utm_campaign: "my ad",
  });
  assert.equal(second.path, "/virtual");
  assert.equal(second.layout, "b");
  home.leave();

  const account = browser.init(ingest);
  account.merganser.track({ type: "sign-in-clicked" });
  account.merganser.identify(123, { email: "a@b.example" });
  account.merganser.track({ type: "purchase" });
  account.leave();
  const later = browser.init(ingest);
  later.merganser.track({ type: "returned" });
  later.merganser.reset();
  later.merganser.track({ type: "next-visitor" });
  await eventually(() => new Set(ingest.distinctTypes).size, 6);

  const { anonymousId: visitor } = ingest.events[0];
  const byType = new Map(ids().map(([type, ...both]) => [type, both]));
  assert.match(visitor, /^[0-9a-f-]{36}$/);
  assert.deepEqual(byType.get("sign-in-clicked"), [undefined, visitor]);
  assert.deepEqual(byType.get("identify"), [123, visitor]);
  assert.deepEqual(byType.get("purchase"), ["123", visitor]);
  assert.deepEqual(byType.get("returned"), ["123", visitor]);
  const [user, nextVisitor] = byType.get("next-visitor");
  assert.equal(user, undefined);
  assert.match(nextVisitor, /^[0-9a-f-]{36}$/);
  assert.notEqual(nextVisitor, visitor);
});

for (const [place, missing] of [
  ["localStorage", ["cookies"]],
  ["a cookie", ["storage"]],
]) {
  test(`ids are stored in ${place}`, async () => {
    for (const feature of missing) browser.supports[feature] = false;
    const first = browser.init(ingest);
    first.merganser.identify("Zoë; Max-Age=0, 1=1");
    const id = first.merganser.anonymousId();
    await eventually(() => ingest.types, ["identify"]);
    first.end();
    const second = browser.init(ingest);
    second.merganser.track({ type: "t" });
    await eventually(() => ids().at(-1), ["t", "Zoë; Max-Age=0, 1=1", id]);
    assert.equal(browser.cookies.size > 0, place === "a cookie");
    second.merganser.reset();
    assert.notEqual(second.merganser.anonymousId(), id);
    assert.equal(browser.cookies.has("merganser.userId"), false);
  });
}

test("without storage and cookies, ids last as long as the page", async () => {
  browser.supports.storage = browser.supports.cookies = false;
  const page = browser.init(ingest);
  page.merganser.identify(1);
  page.merganser.track({ type: "t" });
  await eventually(() => ingest.types, ["identify", "t"]);
  assert.equal(ingest.events[0].anonymousId, ingest.events[1].anonymousId);
  assert.equal(ingest.events[1].userId, "1");
});

test("with a full storage, events are queued in memory", async () => {
  browser.storage.quota = 1_000;
  ingest.next = [refuse(503)];
  const page = browser.init(ingest);
  const data = { text: "x".repeat(99) };
  for (let n = 0; n < 20; n++) page.merganser.track({ type: `e${n}`, data });
  await eventually(() => new Set(ingest.types).size, 20);
  await eventually(() => browser.storage.keys, ["merganser.anonymousId"]);
});

test("the next page sends the events that a page has left", async () => {
  await ingest.stop();
  const page = browser.init(ingest);
  page.merganser.track({ type: "a" });
  page.merganser.track({ type: "b" });
  await waitForTimers();
  page.end();
  await ingest.start();
  browser.init(ingest);
  await eventually(() => ingest.types, ["a", "b"]);
  await eventually(() => browser.storage.keys, ["merganser.anonymousId"]);
  browser.init(ingest);
  await waitForTimers();
  assert.deepEqual(ingest.types, ["a", "b"], "delivered events are not sent again");
});

test("an event of a page that ends during its request is sent again with the same messageId", async () => {
  ingest.next = [acceptAfter(10_000)];
  const page = browser.init(ingest);
  page.merganser.track({ type: "a" });
  await eventually(() => ingest.types, ["a"]);
  page.end();
  browser.init(ingest);
  await eventually(() => ingest.types, ["a", "a"]);
  assert.deepEqual(ingest.distinctTypes, ["a"]);
});

test("when the browser is online again, the client retries at once", async () => {
  await ingest.stop();
  const page = browser.init(ingest, { retryMin: 600_000, retryMax: 600_000 });
  page.merganser.track({ type: "a" });
  await waitForTimers();
  await ingest.start();
  await waitForTimers();
  assert.deepEqual(ingest.types, []);
  page.fire("online");
  await eventually(() => ingest.types, ["a"]);
});

test("leaving a page sends the queued events at once", async () => {
  const page = browser.init(ingest, { flushInterval: 600_000 });
  page.merganser.track({ type: "a" });
  page.leave();
  await eventually(() => ingest.types, ["a"]);
});

test("leaving a page sends the events of a pending request again", async () => {
  ingest.next = [async () => {}];
  const page = browser.init(ingest);
  page.merganser.track({ type: "a" });
  await eventually(() => ingest.requests.length, 1);
  page.leave();
  await eventually(() => ingest.types, ["a"]);
});

test("a page that was hidden and shown again sends each event once", async () => {
  const page = browser.init(ingest, { flushInterval: 20 });
  page.merganser.track({ type: "a" });
  page.show("hidden");
  await eventually(() => browser.storage.keys, ["merganser.anonymousId"]);
  page.show("visible");
  page.merganser.track({ type: "b" });
  await eventually(() => ingest.types, ["a", "b"]);
  await waitForTimers();
  assert.deepEqual(ingest.types, ["a", "b"]);
});

test("two responses for one event do not hide another event", async () => {
  ingest.next = [acceptAfter(200)];
  const page = browser.init(ingest);
  page.merganser.track({ type: "a" });
  await eventually(() => ingest.types, ["a"]);
  page.show("hidden");
  await eventually(() => browser.storage.keys, ["merganser.anonymousId"]);
  page.merganser.track({ type: "b" });
  await eventually(() => ingest.types, ["a", "a", "b"]);
});

test("a browser without fetch keepalive uses a beacon", async () => {
  browser.supports.keepalive = false;
  const page = browser.init(ingest, { flushInterval: 600_000 });
  page.merganser.track({ type: "a" });
  page.leave();
  await eventually(() => ingest.types, ["a"]);
  assert.equal(page.beacons.length, 1);
  browser.init(ingest);
  await eventually(() => ingest.types, ["a", "a"]);
  assert.deepEqual(ingest.distinctTypes, ["a"], "a beacon has no response, so the event is sent again");
});

test("leaving a page sends at most 64 KiB; the next page sends the rest", async () => {
  const page = browser.init(ingest, { flushInterval: 600_000, batchSize: 1000 });
  const data = { a: "ä".repeat(5_000) };
  for (let n = 0; n < 20; n++) page.merganser.track({ type: `e${n}`, data });
  page.leave();
  await eventually(() => ingest.requests.length, 1);
  assert.ok(ingest.requests[0].bytes <= 64 << 10);
  assert.ok(ingest.events.length >= 5);
  browser.init(ingest);
  await eventually(() => new Set(ingest.types).size, 20);
});

test("leaving a page respects Retry-After, and keeps the events", async () => {
  ingest.next = [refuse(503, { "retry-after": "600" })];
  const page = browser.init(ingest);
  page.merganser.track({ type: "a" });
  await eventually(() => ingest.requests.length, 1);
  await waitForTimers();
  page.leave();
  await waitForTimers();
  assert.equal(ingest.requests.length, 1);
  browser.init(ingest);
  await eventually(() => ingest.types, ["a"]);
});

test("several tabs send each event once", async () => {
  ingest.behavior = async (...request) => {
    await sleep(5);
    accept(...request);
  };
  const tabs = [1, 2, 3].map(() => browser.init(ingest, { batchSize: 7 }));
  const expected = new Set();
  for (let n = 0; n < 60; n++) {
    expected.add(tabs[n % 3].merganser.track({ type: `e${n}` }));
    if (n % 10 === 0) await sleep(3);
  }
  await eventually(() => browser.storage.keys, ["merganser.anonymousId"]);
  const arrived = ingest.events.map((event) => event.messageId);
  assert.equal(arrived.length, 60);
  assert.deepEqual(new Set(arrived), expected);
  assert.equal(new Set(ingest.events.map((event) => event.anonymousId)).size, 1);
});

test("a tab that is closed while it sends leaves its events to the others", async () => {
  ingest.next = [async () => {}];
  const [first, second] = [browser.init(ingest), browser.init(ingest)];
  first.merganser.track({ type: "a" });
  await eventually(() => ingest.requests.length, 1);
  first.end();
  second.merganser.track({ type: "b" });
  await eventually(() => ingest.types, ["a", "b"]);
});

test("without locks, as without TLS, tabs may repeat events, but not without end", async () => {
  browser.supports.locks = false;
  const tabs = [1, 2].map(() => browser.init(ingest));
  for (let n = 0; n < 40; n++) tabs[n % 2].merganser.track({ type: `e${n}` });
  await eventually(() => browser.storage.keys, ["merganser.anonymousId"]);
  assert.equal(new Set(ingest.distinctTypes).size, 40);
  const before = ingest.requests.length;
  await waitForTimers();
  assert.equal(ingest.requests.length, before);
});

test("a login or logout in one tab holds for the others", async () => {
  const [first, second] = [browser.init(ingest), browser.init(ingest)];
  first.merganser.identify(5);
  second.merganser.track({ type: "known" });
  second.merganser.reset();
  first.merganser.track({ type: "unknown" });
  second.merganser.track({ type: "unknown" });
  await eventually(() => ingest.events.length, 4);
  const unknown = ingest.events.filter((event) => event.type === "unknown");
  const known = ingest.events.filter((event) => event.type !== "unknown");
  assert.deepEqual(known.map((event) => String(event.userId)), ["5", "5"]);
  assert.deepEqual(unknown.map((event) => event.userId), [undefined, undefined]);
  assert.equal(unknown[0].anonymousId, unknown[1].anonymousId);
  assert.notEqual(unknown[0].anonymousId, known[0].anonymousId);
});

test("without consent the client sends and stores nothing", async () => {
  const page = browser.init(ingest, { consent: false });
  assert.equal(page.merganser.track({ type: "a" }), undefined);
  page.merganser.page();
  page.merganser.identify(1);
  page.merganser.anonymousId();
  page.leave();
  await waitForTimers();
  assert.equal(ingest.requests.length, 0);
  assert.deepEqual([browser.storage.keys, browser.cookies.size], [[], 0]);
});

test("consent starts the client with the known ids, and is remembered", async () => {
  const page = browser.init(ingest, { consent: false });
  page.merganser.identify(1);
  page.merganser.track({ type: "never" });
  page.merganser.consent(true);
  page.merganser.track({ type: "a" });
  await eventually(() => ingest.types, ["a"]);
  assert.equal(ingest.events[0].userId, "1");
  await page.merganser.flush(); // or the next page sends it again
  page.end();
  const next = browser.init(ingest, { consent: false });
  next.merganser.track({ type: "b" });
  await eventually(() => ingest.types, ["a", "b"]);
  assert.equal(ingest.events[1].userId, "1");
  assert.equal(ingest.events[1].anonymousId, ingest.events[0].anonymousId);
});

test("a refusal deletes ids and queue in all tabs, and is remembered", async () => {
  await ingest.stop();
  const [first, second] = [browser.init(ingest), browser.init(ingest)];
  first.merganser.identify(1);
  second.merganser.track({ type: "a" });
  first.merganser.consent(false);
  assert.deepEqual(browser.storage.keys, ["merganser.consent"]);
  second.merganser.track({ type: "b" });
  await ingest.start();
  const next = browser.init(ingest);
  next.merganser.track({ type: "c" });
  await waitForTimers();
  assert.deepEqual(browser.storage.keys, ["merganser.consent"]);
  assert.equal(ingest.requests.length, 0);
  next.merganser.consent(true);
  next.merganser.track({ type: "d" });
  await eventually(() => ingest.types, ["d"]);
  assert.equal(ingest.events[0].userId, undefined);
});

test("without a storage, a cookie stores a refusal", async () => {
  browser.supports.storage = false;
  browser.init(ingest).merganser.consent(false);
  browser.init(ingest).merganser.track({ type: "a" });
  await waitForTimers();
  assert.equal(ingest.requests.length, 0);
  assert.deepEqual([...browser.cookies.keys()], ["merganser.consent"]);
});

test("the script tag starts the client, sends to its own server, and sends a pageview", async () => {
  const page = browser.open(ingest, { tag: { apiKey: "tag-key" } });
  page.merganser.track({ type: "a" });
  page.leave();
  await eventually(() => ingest.types, ["pageview", "a"]);
  assert.equal(ingest.requests[0].body.apiKey, "tag-key");
  assert.equal(ingest.requests[0].path, "/api/v1/batch");
});

test("calls before the script is loaded are not lost", async () => {
  const page = browser.open(ingest, {
    tag: { apiKey: "key", page: "false" },
    before: `window.merganser ||= [];
      merganser.push(["identify", 5, { name: "Ann" }], ["track", { type: "a" }]);`,
  });
  page.merganser.push(["track", { type: "b" }]);
  page.leave();
  await eventually(() => ingest.types, ["identify", "a", "b"]);
});

test("attributes of the script tag", async () => {
  const otherIngest = await FakeIngest.started();
  const page = browser.open(ingest, {
    tag: { apiKey: "key", endpoint: otherIngest.url, consent: "false" },
  });
  page.merganser.consent(true);
  page.merganser.track({ type: "a" });
  page.leave();
  await eventually(() => otherIngest.types, ["a"]);
  assert.equal(ingest.requests.length, 0);
  await otherIngest.stop();
});

test("without a key the script waits for init", async () => {
  const page = browser.open(ingest);
  page.run(`merganser.init({ apiKey: "key", endpoint: "${ingest.url}" }).track({ type: "a" })`);
  page.leave();
  await eventually(() => ingest.types, ["a"]);
});

test("the queue in the storage is bounded", async () => {
  await ingest.stop();
  const page = browser.init(ingest, { maxQueue: 10 });
  for (let n = 0; n < 15; n++) page.merganser.track({ type: `e${n}` });
  assert.equal(page.warnings.length, 5);
  assert.match(page.warnings[0][0], /the queue is full/);
  await ingest.start();
  const types = Array.from({ length: 10 }, (_, n) => `e${n + 5}`);
  await eventually(() => ingest.types, types);
});

test("other items in the storage are not touched", async () => {
  browser.storage.setItem("merganser-elsewhere", "1");
  browser.storage.setItem("other", "2");
  const page = browser.init(ingest);
  page.merganser.track({ type: "a" });
  await eventually(() => ingest.types, ["a"]);
  page.merganser.consent(false);
  assert.deepEqual(browser.storage.keys, ["merganser-elsewhere", "other", "merganser.consent"]);
});
