// On pages: what is remembered, what outlives a page, and what several tabs do.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Browser } from "./browser.mjs";
import { eventually } from "./eventually.mjs";
import { Gateway, refuse, slowly, take } from "./gateway.mjs";

let gateway;
let browser;
beforeEach(async () => {
  gateway = await Gateway.started();
  browser = new Browser();
});
afterEach(async () => {
  browser.close();
  await gateway.stop();
});

/** Later than any timer of the client. */
const aWhile = () => sleep(100);

const ids = () => gateway.events.map((event) => [event.type, event.userId, event.anonymousId]);

test("the story: a visitor looks at pages, signs in, and signs out", async () => {
  const home = browser.init(
    gateway,
    {},
    {
      url: "https://shop.example/shoes?utm_source=google&utm_campaign=my+ad&size=42#top",
      referrer: "https://google.example/",
    },
  );
  home.merganser.page();
  home.merganser.page({ path: "/virtual", layout: "b" });
  await eventually(() => gateway.types, ["pageview", "pageview"]);
  const [first, second] = gateway.events.map((event) => event.data);
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

  const account = browser.init(gateway);
  account.merganser.track({ type: "sign-in-clicked" });
  account.merganser.identify(123, { email: "a@b.example" });
  account.merganser.track({ type: "purchase" });
  account.leave();
  const later = browser.init(gateway);
  later.merganser.track({ type: "returned" });
  later.merganser.reset();
  later.merganser.track({ type: "somebody-else" });
  await eventually(() => new Set(gateway.distinct).size, 6);

  const { anonymousId: person } = gateway.events[0];
  const seen = new Map(ids().map(([type, ...both]) => [type, both]));
  assert.match(person, /^[0-9a-f-]{36}$/);
  assert.deepEqual(seen.get("sign-in-clicked"), [undefined, person]);
  assert.deepEqual(seen.get("identify"), [123, person]);
  assert.deepEqual(seen.get("purchase"), ["123", person]);
  assert.deepEqual(seen.get("returned"), ["123", person]);
  const [user, anybody] = seen.get("somebody-else");
  assert.equal(user, undefined);
  assert.match(anybody, /^[0-9a-f-]{36}$/);
  assert.notEqual(anybody, person);
});

for (const [kept, lacks] of [
  ["localStorage", ["cookies"]],
  ["a cookie", ["storage"]],
]) {
  test(`the ids are kept in ${kept}`, async () => {
    for (const part of lacks) browser.has[part] = false;
    const first = browser.init(gateway);
    first.merganser.identify("Zoë; Max-Age=0, 1=1");
    const id = first.merganser.anonymousId();
    await eventually(() => gateway.types, ["identify"]);
    first.end();
    const second = browser.init(gateway);
    second.merganser.track({ type: "t" });
    await eventually(() => ids().at(-1), ["t", "Zoë; Max-Age=0, 1=1", id]);
    assert.equal(browser.cookies.size > 0, kept === "a cookie");
    second.merganser.reset();
    assert.notEqual(second.merganser.anonymousId(), id);
    assert.equal(browser.cookies.has("merganser.userId"), false);
  });
}

test("where nothing can be kept, a page is one visitor all the same", async () => {
  browser.has.storage = browser.has.cookies = false;
  const page = browser.init(gateway);
  page.merganser.identify(1);
  page.merganser.track({ type: "t" });
  await eventually(() => gateway.types, ["identify", "t"]);
  assert.equal(gateway.events[0].anonymousId, gateway.events[1].anonymousId);
  assert.equal(gateway.events[1].userId, "1");
});

test("a storage that is full loses nothing while the page lives", async () => {
  browser.storage.quota = 1_000;
  gateway.next = [refuse(503)];
  const page = browser.init(gateway);
  const data = { text: "x".repeat(99) };
  for (let n = 0; n < 20; n++) page.merganser.track({ type: `e${n}`, data });
  await eventually(() => new Set(gateway.types).size, 20);
  await eventually(() => browser.storage.keys, ["merganser.anonymousId"]);
});

test("what a page leaves unsent, the next page sends", async () => {
  await gateway.stop();
  const page = browser.init(gateway);
  page.merganser.track({ type: "a" });
  page.merganser.track({ type: "b" });
  await aWhile();
  page.end();
  await gateway.start();
  browser.init(gateway);
  await eventually(() => gateway.types, ["a", "b"]);
  await eventually(() => browser.storage.keys, ["merganser.anonymousId"]);
  browser.init(gateway);
  await aWhile();
  assert.deepEqual(gateway.types, ["a", "b"], "delivered is delivered");
});

test("a page that ends while its request is answered: the event is one event", async () => {
  gateway.next = [slowly(10_000)];
  const page = browser.init(gateway);
  page.merganser.track({ type: "a" });
  await eventually(() => gateway.types, ["a"]);
  page.end();
  browser.init(gateway);
  await eventually(() => gateway.types, ["a", "a"]);
  assert.deepEqual(gateway.distinct, ["a"]);
});

test("offline, then online: sent at once, whatever the retry would have waited", async () => {
  await gateway.stop();
  const page = browser.init(gateway, { retryMin: 600_000, retryMax: 600_000 });
  page.merganser.track({ type: "a" });
  await aWhile();
  await gateway.start();
  await aWhile();
  assert.deepEqual(gateway.types, []);
  page.fire("online");
  await eventually(() => gateway.types, ["a"]);
});

test("leaving a page sends what waits, at once", async () => {
  const page = browser.init(gateway, { flushInterval: 600_000 });
  page.merganser.track({ type: "a" });
  page.leave();
  await eventually(() => gateway.types, ["a"]);
});

test("leaving a page also sends again what was on its way", async () => {
  gateway.next = [async () => {}];
  const page = browser.init(gateway);
  page.merganser.track({ type: "a" });
  await eventually(() => gateway.requests.length, 1);
  page.leave();
  await eventually(() => gateway.types, ["a"]);
});

test("a page that was only hidden sends nothing twice", async () => {
  const page = browser.init(gateway, { flushInterval: 20 });
  page.merganser.track({ type: "a" });
  page.show("hidden");
  await eventually(() => browser.storage.keys, ["merganser.anonymousId"]);
  page.show("visible");
  page.merganser.track({ type: "b" });
  await eventually(() => gateway.types, ["a", "b"]);
  await aWhile();
  assert.deepEqual(gateway.types, ["a", "b"]);
});

test("two answers for one event, and a third event beside: all are sent", async () => {
  gateway.next = [slowly(200)];
  const page = browser.init(gateway);
  page.merganser.track({ type: "a" });
  await eventually(() => gateway.types, ["a"]);
  page.show("hidden");
  await eventually(() => browser.storage.keys, ["merganser.anonymousId"]);
  page.merganser.track({ type: "b" });
  await eventually(() => gateway.types, ["a", "a", "b"]);
});

test("a browser whose fetch ends with the page uses a beacon", async () => {
  browser.has.keepalive = false;
  const page = browser.init(gateway, { flushInterval: 600_000 });
  page.merganser.track({ type: "a" });
  page.leave();
  await eventually(() => gateway.types, ["a"]);
  assert.equal(page.beacons.length, 1);
  browser.init(gateway);
  await eventually(() => gateway.types, ["a", "a"]);
  assert.deepEqual(gateway.distinct, ["a"], "its answer is not to be had: sent again, one event");
});

test("leaving takes no more than browsers send then; the next page sends the rest", async () => {
  const page = browser.init(gateway, { flushInterval: 600_000, batchSize: 1000 });
  const data = { a: "ä".repeat(5_000) };
  for (let n = 0; n < 20; n++) page.merganser.track({ type: `e${n}`, data });
  page.leave();
  await eventually(() => gateway.requests.length, 1);
  assert.ok(gateway.requests[0].bytes <= 64 << 10);
  assert.ok(gateway.events.length >= 5);
  browser.init(gateway);
  await eventually(() => new Set(gateway.types).size, 20);
});

test("leaving while the server asked to wait sends nothing, and keeps all", async () => {
  gateway.next = [refuse(503, { "retry-after": "600" })];
  const page = browser.init(gateway);
  page.merganser.track({ type: "a" });
  await eventually(() => gateway.requests.length, 1);
  await aWhile();
  page.leave();
  await aWhile();
  assert.equal(gateway.requests.length, 1);
  browser.init(gateway);
  await eventually(() => gateway.types, ["a"]);
});

test("several tabs: nothing is lost, and nothing is sent twice", async () => {
  gateway.usually = async (...request) => {
    await sleep(5);
    take(...request);
  };
  const tabs = [1, 2, 3].map(() => browser.init(gateway, { batchSize: 7 }));
  const expected = new Set();
  for (let n = 0; n < 60; n++) {
    expected.add(tabs[n % 3].merganser.track({ type: `e${n}` }));
    if (n % 10 === 0) await sleep(3);
  }
  await eventually(() => browser.storage.keys, ["merganser.anonymousId"]);
  const arrived = gateway.events.map((event) => event.messageId);
  assert.equal(arrived.length, 60);
  assert.deepEqual(new Set(arrived), expected);
  assert.equal(new Set(gateway.events.map((event) => event.anonymousId)).size, 1);
});

test("a tab that is closed while it sends leaves its events to the others", async () => {
  gateway.next = [async () => {}];
  const [one, other] = [browser.init(gateway), browser.init(gateway)];
  one.merganser.track({ type: "a" });
  await eventually(() => gateway.requests.length, 1);
  one.end();
  other.merganser.track({ type: "b" });
  await eventually(() => gateway.types, ["a", "b"]);
});

test("without locks, as without TLS, tabs may repeat, but never for long", async () => {
  browser.has.locks = false;
  const tabs = [1, 2].map(() => browser.init(gateway));
  for (let n = 0; n < 40; n++) tabs[n % 2].merganser.track({ type: `e${n}` });
  await eventually(() => browser.storage.keys, ["merganser.anonymousId"]);
  assert.equal(new Set(gateway.distinct).size, 40);
  const before = gateway.requests.length;
  await aWhile();
  assert.equal(gateway.requests.length, before);
});

test("a login in one tab is known in the other, and so is a logout", async () => {
  const [one, other] = [browser.init(gateway), browser.init(gateway)];
  one.merganser.identify(5);
  other.merganser.track({ type: "known" });
  other.merganser.reset();
  one.merganser.track({ type: "unknown" });
  other.merganser.track({ type: "unknown" });
  await eventually(() => gateway.events.length, 4);
  const unknown = gateway.events.filter((event) => event.type === "unknown");
  const known = gateway.events.filter((event) => event.type !== "unknown");
  assert.deepEqual(known.map((event) => String(event.userId)), ["5", "5"]);
  assert.deepEqual(unknown.map((event) => event.userId), [undefined, undefined]);
  assert.equal(unknown[0].anonymousId, unknown[1].anonymousId);
  assert.notEqual(unknown[0].anonymousId, known[0].anonymousId);
});

test("without consent nothing is sent and nothing kept", async () => {
  const page = browser.init(gateway, { consent: false });
  assert.equal(page.merganser.track({ type: "a" }), undefined);
  page.merganser.page();
  page.merganser.identify(1);
  page.merganser.anonymousId();
  page.leave();
  await aWhile();
  assert.equal(gateway.requests.length, 0);
  assert.deepEqual([browser.storage.keys, browser.cookies.size], [[], 0]);
});

test("consent starts it, with who is known already, and is remembered", async () => {
  const page = browser.init(gateway, { consent: false });
  page.merganser.identify(1);
  page.merganser.track({ type: "never" });
  page.merganser.consent(true);
  page.merganser.track({ type: "a" });
  await eventually(() => gateway.types, ["a"]);
  assert.equal(gateway.events[0].userId, "1");
  await page.merganser.flush(); // or the next page would send again what had no answer yet
  page.end();
  const next = browser.init(gateway, { consent: false });
  next.merganser.track({ type: "b" });
  await eventually(() => gateway.types, ["a", "b"]);
  assert.equal(gateway.events[1].userId, "1");
  assert.equal(gateway.events[1].anonymousId, gateway.events[0].anonymousId);
});

test("a refusal forgets all but itself, in all tabs, and is remembered", async () => {
  await gateway.stop();
  const [one, other] = [browser.init(gateway), browser.init(gateway)];
  one.merganser.identify(1);
  other.merganser.track({ type: "a" });
  one.merganser.consent(false);
  assert.deepEqual(browser.storage.keys, ["merganser.consent"]);
  other.merganser.track({ type: "b" });
  await gateway.start();
  const next = browser.init(gateway);
  next.merganser.track({ type: "c" });
  await aWhile();
  assert.deepEqual(browser.storage.keys, ["merganser.consent"]);
  assert.equal(gateway.requests.length, 0);
  next.merganser.consent(true);
  next.merganser.track({ type: "d" });
  await eventually(() => gateway.types, ["d"]);
  assert.equal(gateway.events[0].userId, undefined);
});

test("a cookie remembers a refusal where there is no storage", async () => {
  browser.has.storage = false;
  browser.init(gateway).merganser.consent(false);
  browser.init(gateway).merganser.track({ type: "a" });
  await aWhile();
  assert.equal(gateway.requests.length, 0);
  assert.deepEqual([...browser.cookies.keys()], ["merganser.consent"]);
});

test("one tag: it starts by itself, sends to where it came from, and says the page", async () => {
  const page = browser.open(gateway, { tag: { apiKey: "of the tag" } });
  page.merganser.track({ type: "a" });
  page.leave();
  await eventually(() => gateway.types, ["pageview", "a"]);
  assert.equal(gateway.requests[0].body.apiKey, "of the tag");
  assert.equal(gateway.requests[0].path, "/api/v1/batch");
});

test("calls that were made before the script came are not lost", async () => {
  const page = browser.open(gateway, {
    tag: { apiKey: "key", page: "false" },
    before: `window.merganser ||= [];
      merganser.push(["identify", 5, { name: "Ann" }], ["track", { type: "a" }]);`,
  });
  page.merganser.push(["track", { type: "b" }]);
  page.leave();
  await eventually(() => gateway.types, ["identify", "a", "b"]);
});

test("the tag's attributes", async () => {
  const other = await Gateway.started();
  const page = browser.open(gateway, {
    tag: { apiKey: "key", endpoint: other.url, consent: "false" },
  });
  page.merganser.consent(true);
  page.merganser.track({ type: "a" });
  page.leave();
  await eventually(() => other.types, ["a"]);
  assert.equal(gateway.requests.length, 0);
  await other.stop();
});

test("without a key the tag waits for init", async () => {
  const page = browser.open(gateway);
  page.run(`merganser.init({ apiKey: "key", endpoint: "${gateway.url}" }).track({ type: "a" })`);
  page.leave();
  await eventually(() => gateway.types, ["a"]);
});

test("what waits in the storage is bounded", async () => {
  await gateway.stop();
  const page = browser.init(gateway, { maxQueue: 10 });
  for (let n = 0; n < 15; n++) page.merganser.track({ type: `e${n}` });
  assert.equal(page.warnings.length, 5);
  assert.match(page.warnings[0][0], /the queue is full/);
  await gateway.start();
  const types = Array.from({ length: 10 }, (_, n) => `e${n + 5}`);
  await eventually(() => gateway.types, types);
});

test("it is one visitor's page, whatever else the site keeps", async () => {
  browser.storage.setItem("merganser-elsewhere", "1");
  browser.storage.setItem("other", "2");
  const page = browser.init(gateway);
  page.merganser.track({ type: "a" });
  await eventually(() => gateway.types, ["a"]);
  page.merganser.consent(false);
  assert.deepEqual(browser.storage.keys, ["merganser-elsewhere", "other", "merganser.consent"]);
});
