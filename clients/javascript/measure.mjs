// Measures the built client: `npm run measure`, or `npm run measure -- URL KEY` for a real gateway.
import { readFileSync } from "node:fs";
import { Worker, isMainThread, parentPort } from "node:worker_threads";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { Gateway, take } from "./test/gateway.mjs";

const SECONDS = 5;

async function measure(endpoint, apiKey = "key") {
  bytes();
  const { init } = await import("./dist/merganser.mjs");
  tracking(init, "in memory", undefined);
  tracking(init, "into a storage", new Kept());
  if (endpoint) return delivery(init, endpoint, apiKey);
  const worker = new Worker(new URL(import.meta.url));
  await delivery(init, await new Promise((told) => worker.once("message", told)), apiKey);
  await worker.terminate();
}

function bytes() {
  for (const file of ["merganser.js", "merganser.mjs"]) {
    const content = readFileSync(new URL(`dist/${file}`, import.meta.url));
    const gzipped = gzipSync(content, { level: 9 }).length;
    const brotli = brotliCompressSync(content).length;
    say(file, `${content.length} bytes, gzip ${gzipped}, brotli ${brotli}`);
  }
}

const event = (n) => ({
  type: "purchase",
  userId: `user-${n % 1000}`,
  data: { total: 12.5, currency: "EUR", sku: "mug-7", step: n },
});

/** Calls of track() while the server is away. */
function tracking(init, where, storage) {
  const count = 20_000;
  const away = { apiKey: "key", endpoint: "http://127.0.0.1:9" };
  const merganser = init({ ...away, storage, maxQueue: count });
  const start = performance.now();
  for (let n = 0; n < count; n++) merganser.track(event(n));
  say(`track() ${where}`, `${rate(count, start)} calls/s`);
  void merganser.close(0);
}

/** Events delivered by one client, one request at a time. */
async function delivery(init, endpoint, apiKey) {
  for (const batchSize of [100, 500]) {
    const merganser = init({ apiKey, endpoint, batchSize });
    const start = performance.now();
    let count = 0;
    while (performance.now() - start < SECONDS * 1000) {
      for (let n = 0; n < 5_000; n++) merganser.track(event(count++));
      while (!(await merganser.flush())) await new Promise((done) => setTimeout(done, 10));
    }
    say(`delivered, ${batchSize} a request`, `${rate(count, start)} events/s`);
    await merganser.close();
  }
}

const rate = (count, start) => Math.round(count / ((performance.now() - start) / 1000));
const say = (what, figure) => console.log(`${what.padEnd(28)} ${figure}`);

/** Web Storage in memory. */
class Kept {
  items = new Map();
  get length() {
    return this.items.size;
  }
  key = (index) => (this.keys ??= [...this.items.keys()])[index];
  getItem = (key) => this.items.get(key) ?? null;
  setItem(key, value) {
    this.items.set(key, value);
    this.keys = undefined;
  }
  removeItem(key) {
    this.items.delete(key);
    this.keys = undefined;
  }
}

if (isMainThread) {
  await measure(...process.argv.slice(2));
} else {
  const gateway = await Gateway.started();
  gateway.usually = (response, body) => take(response, body, { events: [] });
  parentPort.postMessage(gateway.url);
}
