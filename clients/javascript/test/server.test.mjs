// In a server: one client speaks for many people.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { afterEach, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { init } from "../dist/merganser.mjs";
import { FakeStorage, quick } from "./browser.mjs";
import { Gateway, refuse } from "./gateway.mjs";

let gateway;
beforeEach(async () => (gateway = await Gateway.started()));
afterEach(() => gateway.stop());

const client = (options = {}) =>
  init({ apiKey: "key", endpoint: gateway.url, ...quick, ...options });

test("what a request says", async () => {
  const merganser = client({ endpoint: gateway.url + "//" });
  const before = Date.now();
  const data = { total: 5, "ü\ud800": "💶" };
  const id = merganser.track({ type: "purchase", userId: 123, data });
  await merganser.close();
  const [{ path, headers, body }] = gateway.requests;
  assert.equal(path, "/api/v1/batch");
  assert.match(headers["content-type"], /^text\/plain/); // asks no preflight
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

test("what an event says itself comes first", async () => {
  const merganser = client();
  const said = {
    type: "t",
    userId: "u",
    anonymousId: "a",
    messageId: "m",
    sessionId: "s",
    data: {},
  };
  merganser.track({ ...said, occurredAt: new Date(1e12) });
  merganser.track({ ...said, messageId: "n", occurredAt: 1e12 });
  await merganser.close();
  assert.deepEqual(gateway.events, [
    { ...said, occurredAt: "2001-09-09T01:46:40.000Z" },
    { ...said, messageId: "n", occurredAt: 1e12 },
  ]);
});

test("it remembers nobody: one user's events never get another's ids", async () => {
  const merganser = client();
  merganser.identify(1, { name: "Ann" });
  merganser.identify(2, {}, { anonymousId: "a" });
  merganser.track({ type: "t", anonymousId: "b" });
  merganser.page({ path: "/" }, { userId: 3 });
  assert.equal(merganser.anonymousId(), undefined);
  await merganser.close();
  assert.deepEqual(
    gateway.events.map(({ type, userId, anonymousId, data }) => [type, userId, anonymousId, data]),
    [
      ["identify", 1, undefined, { name: "Ann" }],
      ["identify", 2, "a", {}],
      ["t", undefined, "b", undefined],
      ["pageview", 3, undefined, { path: "/" }],
    ],
  );
});

test("with a storage it is one visitor's, and remembers over restarts", async () => {
  const storage = new FakeStorage();
  await gateway.stop();
  const first = client({ storage });
  const id = first.anonymousId();
  first.track({ type: "before" });
  first.identify(7);
  await first.close(0);
  await gateway.start();
  const second = client({ storage });
  second.track({ type: "after" });
  await second.close();
  assert.deepEqual(
    gateway.events.map(({ type, userId, anonymousId }) => [type, userId, anonymousId]),
    [
      ["before", undefined, id],
      ["identify", 7, id],
      ["after", "7", id],
    ],
  );
});

test("messageIds are UUIDv7, each another", async () => {
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

test("what JSON cannot say is dropped with a word, and breaks nothing", async () => {
  const dropped = [];
  const merganser = client({ onDrop: (event, reason) => dropped.push([event.type, reason]) });
  const circular = {};
  circular.self = circular;
  assert.equal(merganser.track({ type: "circular", userId: "1", data: circular }), undefined);
  assert.equal(merganser.track({ type: "bigint", userId: "1", data: { n: 1n } }), undefined);
  merganser.track({ type: "good", userId: "1" });
  await merganser.close();
  assert.deepEqual(gateway.types, ["good"]);
  assert.match(dropped[0][1], /circular/);
  assert.match(dropped[1][1], /BigInt/);
});

test("a closed client takes nothing", async () => {
  const dropped = [];
  const merganser = client({ onDrop: (event, reason) => dropped.push([event.type, reason]) });
  await merganser.close();
  assert.equal(merganser.track({ type: "late", userId: "1" }), undefined);
  assert.deepEqual(dropped, [["late", "the client is closed"]]);
});

test("nothing goes without a key and an endpoint", () => {
  assert.throws(() => init({ apiKey: "key" }), /endpoint/);
  assert.throws(() => init({ endpoint: "http://localhost" }), /apiKey/);
});

test("two clients of one storage under two names do not see each other", async () => {
  const storage = new FakeStorage();
  const other = await Gateway.started();
  const one = client({ storage, name: "one" });
  const two = client({ storage, name: "two", endpoint: other.url });
  one.track({ type: "to one" });
  two.track({ type: "to two" });
  await Promise.all([one.close(), two.close()]);
  assert.deepEqual([gateway.types, other.types], [["to one"], ["to two"]]);
  assert.notEqual(one.anonymousId(), two.anonymousId());
  await other.stop();
});

/** Run a program in a Node of its own; `merganser` is a client. */
const program = async (code) => {
  const module = new URL("../dist/merganser.mjs", import.meta.url).href;
  const source = `
    import { init } from ${JSON.stringify(module)};
    const merganser = init({ apiKey: "key", endpoint: ${JSON.stringify(gateway.url)} });
    ${code}`;
  const start = Date.now();
  await promisify(execFile)(process.execPath, ["--input-type=module", "-e", source], {
    cwd: fileURLToPath(new URL("..", import.meta.url)),
    timeout: 20_000,
  });
  return Date.now() - start;
};

test("a program that comes to its end ends once its events are delivered", async () => {
  gateway.next = [refuse(503)];
  await program(`merganser.track({ type: "t", userId: "1" });`);
  assert.deepEqual(gateway.types, ["t"]);
});

test("an idle client keeps no program from ending, nor does a closed one", async () => {
  await program(``);
  const ms = await program(`merganser.track({ type: "t", userId: "1" }); await merganser.close();`);
  assert.deepEqual(gateway.types, ["t"]);
  assert.ok(ms < 5_000, `${ms} ms`);
});

test("a client that gave up keeps no program from ending", async () => {
  await gateway.stop();
  await program(`merganser.track({ type: "t", userId: "1" }); await merganser.close(100);`);
  await gateway.start();
});
