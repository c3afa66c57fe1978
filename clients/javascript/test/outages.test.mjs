// Failures of the server and the network: each event arrives, once by its messageId.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { init } from "../dist/merganser.mjs";
import { shortIntervals } from "./fake-browser.mjs";
import { eventually } from "./eventually.mjs";
import {
  FakeIngest,
  refuse,
  acceptAfter,
  captivePortal,
  refuseRequestsWith,
  accept,
  acceptAllBut,
  acceptAndDisconnect,
} from "./fake-ingest.mjs";

let ingest;
let dropped;
let errors;
const consoleError = console.error;

beforeEach(async () => {
  ingest = await FakeIngest.started();
  dropped = [];
  errors = [];
  console.error = (...values) => errors.push(values.join(" "));
});
afterEach(async () => {
  console.error = consoleError;
  await ingest.stop();
});

const client = (options = {}) =>
  init({
    apiKey: "key",
    endpoint: ingest.url,
    ...shortIntervals,
    onDrop: (event, reason) => dropped.push([event.type, reason]),
    ...options,
  });

const track = (merganser, count) =>
  Array.from({ length: count }, (_, index) =>
    merganser.track({ type: `e${index}`, userId: "1", data: { index } }),
  );

/** Exactly these events arrived, and none was dropped. */
function assertAll(ids) {
  assert.deepEqual(new Set(ingest.events.map((event) => event.messageId)), new Set(ids));
  assert.deepEqual(dropped, []);
}

const failures = {
  "503 three times": refuse(503),
  "503 with a Retry-After in the past": refuse(503, { "retry-after": new Date(0).toUTCString() }),
  "429": refuse(429),
  "500": refuse(500),
  "a connection closed after the request was read": acceptAndDisconnect,
  "a captive portal": captivePortal,
  "a wrong path": refuse(404),
  "an unknown key": refuse(401),
  "a forbidden key": refuse(403),
  "no response before the timeout": acceptAfter(60_000),
};
for (const [name, failure] of Object.entries(failures)) {
  test(`${name}: no event is lost`, async () => {
    ingest.next = [failure, failure, failure];
    const merganser = client({ batchSize: 10, timeout: 150 });
    const ids = track(merganser, 35);
    assert.equal(await merganser.close(), true);
    assertAll(ids);
  });
}

test("a retry sends the same events with a new sentAt", async () => {
  ingest.next = [acceptAndDisconnect];
  const merganser = client();
  track(merganser, 1);
  await merganser.close();
  const [first, second] = ingest.requests.map((request) => request.body);
  assert.deepEqual(first.events, second.events);
  assert.ok(Date.parse(first.sentAt) < Date.parse(second.sentAt));
});

test("a server that stops and starts again", async () => {
  await ingest.stop();
  const merganser = client({ batchSize: 10 });
  const ids = track(merganser, 35);
  assert.equal(await merganser.flush(), false);
  await ingest.start();
  assert.equal(await merganser.close(), true);
  assertAll(ids);
  assert.equal(ingest.events.length, 35, "each event was sent once");
});

test("without failures each event is sent once, in order, in batches", async () => {
  const merganser = client({ batchSize: 10 });
  const ids = track(merganser, 35);
  await merganser.close();
  assert.deepEqual(ingest.events.map((event) => event.messageId), ids);
  assert.deepEqual(ingest.requests.map((request) => request.body.events.length), [10, 10, 10, 5]);
});

test("one request at a time", async () => {
  let pending = 0;
  let maxPending = 0;
  ingest.behavior = async (...request) => {
    maxPending = Math.max(maxPending, ++pending);
    await new Promise((done) => setTimeout(done, 5));
    pending--;
    accept(...request);
  };
  const merganser = client({ batchSize: 2 });
  const ids = track(merganser, 11);
  await Promise.all([merganser.flush(), merganser.flush()]);
  ids.push(...track(merganser, 3));
  await merganser.close();
  assertAll(ids);
  assert.equal(maxPending, 1);
});

test("Retry-After in seconds is respected, also by flush()", async () => {
  ingest.next = [refuse(503, { "retry-after": "1" })];
  const merganser = client();
  track(merganser, 1);
  assert.equal(await merganser.flush(), false);
  assert.equal(await merganser.flush(), false);
  assert.equal(ingest.requests.length, 1);
  await merganser.close();
  const [first, second] = ingest.requests;
  assert.ok(second.at - first.at >= 990, `${second.at - first.at} ms`);
});

test("Retry-After as a date is respected", async () => {
  const date = new Date(Date.now() + 2_000).toUTCString(); // has whole seconds
  ingest.next = [refuse(503, { "retry-after": date })];
  const merganser = client();
  track(merganser, 1);
  await merganser.close();
  assert.ok(ingest.requests[1].at >= Date.parse(date));
});

test("delays between retries grow with jitter, up to retryMax", async () => {
  ingest.next = Array(7).fill(refuse(503));
  const merganser = client({ retryMin: 20, retryMax: 160 });
  track(merganser, 1);
  await merganser.close();
  const waits = ingest.requests.slice(1).map((request, n) => request.at - ingest.requests[n].at);
  const backoffs = [20, 40, 80, 160, 160, 160, 160];
  waits.forEach((wait, n) => {
    assert.ok(wait >= backoffs[n] / 2 - 1, `wait ${n} of ${wait} ms`);
    assert.ok(wait < backoffs[n] + 100, `wait ${n} of ${wait} ms`);
  });
  assert.ok(new Set(waits.slice(3)).size > 1, `no jitter: ${waits}`);
});

test("after a success the delays start again at retryMin", async () => {
  const merganser = client({ retryMin: 20, retryMax: 10_000 });
  for (const type of ["a", "b"]) {
    ingest.next = [refuse(503), refuse(503), refuse(503)];
    merganser.track({ type, userId: "1" });
    await eventually(() => ingest.types.at(-1), type);
  }
  const before = ingest.requests[4].at;
  assert.ok(ingest.requests[5].at - before < 200);
  await merganser.close();
});

test("a refused event is dropped and reported, and the others are accepted", async () => {
  ingest.behavior = acceptAllBut("e3");
  const merganser = client();
  track(merganser, 5);
  assert.equal(await merganser.close(), true);
  assert.deepEqual(ingest.types, ["e0", "e1", "e2", "e4"]);
  assert.deepEqual(dropped, [["e3", "no e3"]]);
});

for (const status of [400, 413, 422]) {
  test(`${status}: the batch is halved until the invalid event is alone`, async () => {
    ingest.behavior = refuseRequestsWith(status, "e3");
    const merganser = client();
    track(merganser, 9);
    assert.equal(await merganser.close(), true);
    assert.deepEqual(ingest.types, ["e0", "e1", "e2", "e4", "e5", "e6", "e7", "e8"]);
    assert.deepEqual(dropped, [["e3", `because ${status}`]]);
  });
}

test("413 and then 503: both halves wait", async () => {
  ingest.next = [refuse(413), refuse(503, { "retry-after": "1" })];
  const merganser = client();
  const ids = track(merganser, 8);
  await merganser.close();
  assertAll(ids);
  assert.equal(ingest.events.length, 8);
  const [, refused, next] = ingest.requests;
  assert.ok(next.at - refused.at >= 990, `${next.at - refused.at} ms`);
});

test("a batch has at most half a megabyte", async () => {
  const merganser = client({ batchSize: 1000 });
  const event = { type: "t", userId: "1", data: { a: "ä".repeat(50_000) } };
  for (let n = 0; n < 30; n++) merganser.track(event);
  await merganser.close();
  assert.equal(ingest.events.length, 30);
  for (const request of ingest.requests) assert.ok(request.bytes < 512 << 10, `${request.bytes}`);
});

test("a wrong key is reported once, not with each retry", async () => {
  ingest.next = Array(4).fill(refuse(401));
  const merganser = client();
  const ids = track(merganser, 1);
  await merganser.close();
  assertAll(ids);
  assert.equal(errors.length, 1);
  assert.match(errors[0], /status 401 because 401/);
});

test("a full queue drops the oldest event and reports it", async () => {
  await ingest.stop();
  const merganser = client({ maxQueue: 3 });
  track(merganser, 5);
  assert.deepEqual(dropped, [
    ["e0", "the queue is full"],
    ["e1", "the queue is full"],
  ]);
  await ingest.start();
  await merganser.close();
  assert.deepEqual(ingest.types, ["e2", "e3", "e4"]);
});

test("close() returns false after its timeout", async () => {
  await ingest.stop();
  const merganser = client();
  track(merganser, 1);
  const start = Date.now();
  assert.equal(await merganser.close(100), false);
  assert.ok(Date.now() - start < 1_000);
  await ingest.start();
});

test("close() returns false if the server does not respond", async () => {
  ingest.behavior = acceptAfter(60_000);
  const merganser = client();
  track(merganser, 1);
  assert.equal(await merganser.close(100), false);
});
