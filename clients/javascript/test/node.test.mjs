// In Node: one client sends events of many users.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { afterEach, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { init } from "../dist/merganser.mjs";
import { FakeStorage, shortIntervals } from "./fake-browser.mjs";
import { FakeIngest, refuse } from "./fake-ingest.mjs";

let ingest;
beforeEach(async () => (ingest = await FakeIngest.started()));
afterEach(() => ingest.stop());

const client = (options = {}) =>
  init({ apiKey: "key", endpoint: ingest.url, ...shortIntervals, ...options });

test("the content of a request", async () => {
  const merganser = client({ endpoint: ingest.url + "//" });
  const before = Date.now();
  const data = { total: 5, "ü\ud800": "💶" };
  const id = merganser.track({ type: "purchase", userId: 123, data });
  await merganser.close();
  const [{ path, headers, body }] = ingest.requests;
  assert.equal(path, "/api/v1/batch");
  assert.match(headers["content-type"], /^text\/plain/); // so that browsers need no CORS preflight
  assert.equal(headers.authorization, undefined);
  assert.deepEqual(Object.keys(body), ["apiKey", "sentAt", "events"]);
  assert.equal(body.apiKey, "key");
  assert.ok(Date.parse(body.sentAt) >= before);
  const { occurredAt, ...event } = body.events[0];
  assert.deepEqual(event, {
    type: "purchase",
    userId: 123,
    messageId: id,
    data,
  });
  assert.match(occurredAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.ok(Math.abs(Date.parse(occurredAt) - before) < 1_000);
});

test("fields of the event override the defaults", async () => {
  const merganser = client();
  const fields = {
    type: "t",
    userId: "u",
    anonymousId: "a",
    messageId: "m",
    sessionId: "s",
    data: {},
  };
  merganser.track({ ...fields, occurredAt: new Date(1e12) });
  merganser.track({ ...fields, messageId: "n", occurredAt: 1e12 });
  await merganser.close();
  assert.deepEqual(ingest.events, [
    { ...fields, occurredAt: "2001-09-09T01:46:40.000Z" },
    { ...fields, messageId: "n", occurredAt: 1e12 },
  ]);
});

test("the client stores no ids: an event never gets the ids of another user", async () => {
  const merganser = client();
  merganser.identify(1, { name: "Ann" });
  merganser.identify(2, {}, { anonymousId: "a" });
  merganser.track({ type: "t", anonymousId: "b" });
  merganser.page({ path: "/" }, { userId: 3 });
  assert.equal(merganser.anonymousId(), undefined);
  await merganser.close();
  assert.deepEqual(
    ingest.events.map(({ type, userId, anonymousId, data }) => [type, userId, anonymousId, data]),
    [
      ["identify", 1, undefined, { name: "Ann" }],
      ["identify", 2, "a", {}],
      ["t", undefined, "b", undefined],
      ["pageview", 3, undefined, { path: "/" }],
    ],
  );
});

test("with a storage the client belongs to one visitor, also after a restart", async () => {
  const storage = new FakeStorage();
  await ingest.stop();
  const first = client({ storage });
  const id = first.anonymousId();
  first.track({ type: "before" });
  first.identify(7);
  await first.close(0);
  await ingest.start();
  const second = client({ storage });
  second.track({ type: "after" });
  await second.close();
  assert.deepEqual(
    ingest.events.map(({ type, userId, anonymousId }) => [type, userId, anonymousId]),
    [
      ["before", undefined, id],
      ["identify", 7, id],
      ["after", "7", id],
    ],
  );
});

test("messageIds are unique UUIDv7", async () => {
  const merganser = client();
  const ids = Array.from({ length: 1000 }, () => merganser.track({ type: "t", userId: "1" }));
  assert.equal(new Set(ids).size, 1000);
  for (const id of ids) {
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  }
  const moment = parseInt(ids[0].replace("-", "").slice(0, 12), 16);
  assert.ok(Math.abs(moment - Date.now()) < 10_000);
  await merganser.close();
});

test("data without a JSON form is dropped and reported", async () => {
  const dropped = [];
  const merganser = client({ onDrop: (event, reason) => dropped.push([event.type, reason]) });
  const circular = {};
  circular.self = circular;
  assert.equal(merganser.track({ type: "circular", userId: "1", data: circular }), undefined);
  assert.equal(merganser.track({ type: "bigint", userId: "1", data: { n: 1n } }), undefined);
  merganser.track({ type: "good", userId: "1" });
  await merganser.close();
  assert.deepEqual(ingest.types, ["good"]);
  assert.match(dropped[0][1], /circular/);
  assert.match(dropped[1][1], /BigInt/);
});

test("a closed client drops events", async () => {
  const dropped = [];
  const merganser = client({ onDrop: (event, reason) => dropped.push([event.type, reason]) });
  await merganser.close();
  assert.equal(merganser.track({ type: "late", userId: "1" }), undefined);
  assert.deepEqual(dropped, [["late", "the client is closed"]]);
});

test("init needs a key and an endpoint", () => {
  assert.throws(() => init({ apiKey: "key" }), /endpoint/);
  assert.throws(() => init({ endpoint: "http://localhost" }), /apiKey/);
});

test("two clients with different names can share a storage", async () => {
  const storage = new FakeStorage();
  const otherIngest = await FakeIngest.started();
  const first = client({ storage, name: "one" });
  const second = client({ storage, name: "two", endpoint: otherIngest.url });
  first.track({ type: "to first" });
  second.track({ type: "to second" });
  await Promise.all([first.close(), second.close()]);
  assert.deepEqual([ingest.types, otherIngest.types], [["to first"], ["to second"]]);
  assert.notEqual(first.anonymousId(), second.anonymousId());
  await otherIngest.stop();
});

/** Run code in another Node process, where `merganser` is a client; return the milliseconds. */
const runProgram = async (code) => {
  const module = new URL("../dist/merganser.mjs", import.meta.url).href;
  const source = `
    import { init } from ${JSON.stringify(module)};
    const merganser = init({ apiKey: "key", endpoint: ${JSON.stringify(ingest.url)} });
    ${code}`;
  const start = Date.now();
  await promisify(execFile)(process.execPath, ["--input-type=module", "-e", source], {
    cwd: fileURLToPath(new URL("..", import.meta.url)),
    timeout: 20_000,
  });
  return Date.now() - start;
};

test("a program ends after its events are delivered", async () => {
  ingest.next = [refuse(503)];
  await runProgram(`merganser.track({ type: "t", userId: "1" });`);
  assert.deepEqual(ingest.types, ["t"]);
});

test("a program with an idle or a closed client ends", async () => {
  await runProgram(``);
  const ms = await runProgram(`merganser.track({ type: "t", userId: "1" }); await merganser.close();`);
  assert.deepEqual(ingest.types, ["t"]);
  assert.ok(ms < 5_000, `${ms} ms`);
});

test("a program ends after close() gave up", async () => {
  await ingest.stop();
  await runProgram(`merganser.track({ type: "t", userId: "1" }); await merganser.close(100);`);
  await ingest.start();
});
