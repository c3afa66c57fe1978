// Whatever the server does, each event arrives, and is one event by its messageId.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { init } from "../dist/merganser.mjs";
import { quick } from "./browser.mjs";
import { eventually } from "./eventually.mjs";
import {
  Gateway,
  refuse,
  slowly,
  strangers200,
  stumbleOver,
  take,
  takeAllBut,
  takeAndCut,
} from "./gateway.mjs";

let gateway;
let dropped;
let errors;
const consoleError = console.error;

beforeEach(async () => {
  gateway = await Gateway.started();
  dropped = [];
  errors = [];
  console.error = (...said) => errors.push(said.join(" "));
});
afterEach(async () => {
  console.error = consoleError;
  await gateway.stop();
});

const client = (options = {}) =>
  init({
    apiKey: "key",
    endpoint: gateway.url,
    ...quick,
    onDrop: (event, reason) => dropped.push([event.type, reason]),
    ...options,
  });

const track = (merganser, count) =>
  Array.from({ length: count }, (_, index) =>
    merganser.track({ type: `e${index}`, userId: "1", data: { index } }),
  );

/** All of them arrived, and none that is another. */
function assertAll(ids) {
  assert.deepEqual(new Set(gateway.events.map((event) => event.messageId)), new Set(ids));
  assert.deepEqual(dropped, []);
}

const failures = {
  "503 for a while": refuse(503),
  "503, to be tried again long ago": refuse(503, { "retry-after": new Date(0).toUTCString() }),
  "429": refuse(429),
  "a defect of the server": refuse(500),
  "a connection cut after the request was read": takeAndCut,
  "the login page of a hotel's network": strangers200,
  "a wrong path": refuse(404),
  "an unknown key": refuse(401),
  "a forbidden key": refuse(403),
  "no answer in time": slowly(60_000),
};
for (const [name, failure] of Object.entries(failures)) {
  test(`${name}: nothing is lost`, async () => {
    gateway.next = [failure, failure, failure];
    const merganser = client({ batchSize: 10, timeout: 150 });
    const ids = track(merganser, 35);
    assert.equal(await merganser.close(), true);
    assertAll(ids);
  });
}

test("the same event is sent again unchanged, but for when it was sent", async () => {
  gateway.next = [takeAndCut];
  const merganser = client();
  track(merganser, 1);
  await merganser.close();
  const [first, second] = gateway.requests.map((request) => request.body);
  assert.deepEqual(first.events, second.events);
  assert.ok(Date.parse(first.sentAt) < Date.parse(second.sentAt));
});

test("a server that is away, then back", async () => {
  await gateway.stop();
  const merganser = client({ batchSize: 10 });
  const ids = track(merganser, 35);
  assert.equal(await merganser.flush(), false);
  await gateway.start();
  assert.equal(await merganser.close(), true);
  assertAll(ids);
  assert.equal(gateway.events.length, 35, "each was sent once");
});

test("without failures each event is sent once, in order, in batches", async () => {
  const merganser = client({ batchSize: 10 });
  const ids = track(merganser, 35);
  await merganser.close();
  assert.deepEqual(gateway.events.map((event) => event.messageId), ids);
  assert.deepEqual(gateway.requests.map((request) => request.body.events.length), [10, 10, 10, 5]);
});

test("one request at a time", async () => {
  let now = 0;
  let most = 0;
  gateway.usually = async (...request) => {
    most = Math.max(most, ++now);
    await new Promise((done) => setTimeout(done, 5));
    now--;
    take(...request);
  };
  const merganser = client({ batchSize: 2 });
  const ids = track(merganser, 11);
  await Promise.all([merganser.flush(), merganser.flush()]);
  ids.push(...track(merganser, 3));
  await merganser.close();
  assertAll(ids);
  assert.equal(most, 1);
});

test("Retry-After in seconds is waited for, also by flush()", async () => {
  gateway.next = [refuse(503, { "retry-after": "1" })];
  const merganser = client();
  track(merganser, 1);
  assert.equal(await merganser.flush(), false);
  assert.equal(await merganser.flush(), false);
  assert.equal(gateway.requests.length, 1);
  await merganser.close();
  const [first, second] = gateway.requests;
  assert.ok(second.at - first.at >= 990, `${second.at - first.at} ms`);
});

test("Retry-After as a date is waited for", async () => {
  const date = new Date(Date.now() + 2_000).toUTCString(); // has whole seconds
  gateway.next = [refuse(503, { "retry-after": date })];
  const merganser = client();
  track(merganser, 1);
  await merganser.close();
  assert.ok(gateway.requests[1].at >= Date.parse(date));
});

test("waits between retries grow, by chance, to a bound", async () => {
  gateway.next = Array(7).fill(refuse(503));
  const merganser = client({ retryMin: 20, retryMax: 160 });
  track(merganser, 1);
  await merganser.close();
  const waits = gateway.requests.slice(1).map((request, n) => request.at - gateway.requests[n].at);
  const backoffs = [20, 40, 80, 160, 160, 160, 160];
  waits.forEach((wait, n) => {
    assert.ok(wait >= backoffs[n] / 2 - 1, `wait ${n} of ${wait} ms`);
    assert.ok(wait < backoffs[n] + 100, `wait ${n} of ${wait} ms`);
  });
  assert.ok(new Set(waits.slice(3)).size > 1, `no jitter: ${waits}`);
});

test("after a success the waits begin anew", async () => {
  const merganser = client({ retryMin: 20, retryMax: 10_000 });
  for (const kind of ["a", "b"]) {
    gateway.next = [refuse(503), refuse(503), refuse(503)];
    merganser.track({ type: kind, userId: "1" });
    await eventually(() => gateway.types.at(-1), kind);
  }
  const before = gateway.requests[4].at;
  assert.ok(gateway.requests[5].at - before < 200);
  await merganser.close();
});

test("an event that is refused is dropped with a word, and its neighbours are taken", async () => {
  gateway.usually = takeAllBut("e3");
  const merganser = client();
  track(merganser, 5);
  assert.equal(await merganser.close(), true);
  assert.deepEqual(gateway.types, ["e0", "e1", "e2", "e4"]);
  assert.deepEqual(dropped, [["e3", "no e3"]]);
});

for (const status of [400, 413, 422]) {
  test(`${status}: the batch is halved until the event at fault is alone`, async () => {
    gateway.usually = stumbleOver(status, "e3");
    const merganser = client();
    track(merganser, 9);
    assert.equal(await merganser.close(), true);
    assert.deepEqual(gateway.types, ["e0", "e1", "e2", "e4", "e5", "e6", "e7", "e8"]);
    assert.deepEqual(dropped, [["e3", `because ${status}`]]);
  });
}

test("413 and then 503: both halves wait", async () => {
  gateway.next = [refuse(413), refuse(503, { "retry-after": "1" })];
  const merganser = client();
  const ids = track(merganser, 8);
  await merganser.close();
  assertAll(ids);
  assert.equal(gateway.events.length, 8);
  const [, refused, next] = gateway.requests;
  assert.ok(next.at - refused.at >= 990, `${next.at - refused.at} ms`);
});

test("a batch has half a megabyte at most, in bytes", async () => {
  const merganser = client({ batchSize: 1000 });
  const event = { type: "t", userId: "1", data: { a: "ä".repeat(50_000) } };
  for (let n = 0; n < 30; n++) merganser.track(event);
  await merganser.close();
  assert.equal(gateway.events.length, 30);
  for (const request of gateway.requests) assert.ok(request.bytes < 512 << 10, `${request.bytes}`);
});

test("a wrong key is said once, not with each try", async () => {
  gateway.next = Array(4).fill(refuse(401));
  const merganser = client();
  const ids = track(merganser, 1);
  await merganser.close();
  assertAll(ids);
  assert.equal(errors.length, 1);
  assert.match(errors[0], /401 because 401/);
});

test("a full queue drops the oldest, with a word", async () => {
  await gateway.stop();
  const merganser = client({ maxQueue: 3 });
  track(merganser, 5);
  assert.deepEqual(dropped, [
    ["e0", "the queue is full"],
    ["e1", "the queue is full"],
  ]);
  await gateway.start();
  await merganser.close();
  assert.deepEqual(gateway.types, ["e2", "e3", "e4"]);
});

test("close() gives up in time, and says so", async () => {
  await gateway.stop();
  const merganser = client();
  track(merganser, 1);
  const start = Date.now();
  assert.equal(await merganser.close(100), false);
  assert.ok(Date.now() - start < 1_000);
  await gateway.start();
});

test("close() gives up on a silent server", async () => {
  gateway.usually = slowly(60_000);
  const merganser = client();
  track(merganser, 1);
  assert.equal(await merganser.close(100), false);
});
