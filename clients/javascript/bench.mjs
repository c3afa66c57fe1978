// Measures the built client: `npm run bench`, or `npm run bench -- URL KEY` against a real server.
import { readFileSync } from "node:fs";
import { Worker, isMainThread, parentPort } from "node:worker_threads";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { FakeIngest, accept } from "./test/fake-ingest.mjs";

const SECONDS = 5;

async function bench(endpoint, apiKey = "key") {
  printSizes();
  const { init } = await import("./dist/merganser.mjs");
  benchTrack(init, "in memory", undefined);
  benchTrack(init, "with a storage", new MemoryStorage());
  if (endpoint) return benchDelivery(init, endpoint, apiKey);
  const worker = new Worker(new URL(import.meta.url));
  const url = await new Promise((resolve) => worker.once("message", resolve));
  await benchDelivery(init, url, apiKey);
  await worker.terminate();
}

function printSizes() {
  for (const file of ["merganser.js", "merganser.mjs"]) {
    const content = readFileSync(new URL(`dist/${file}`, import.meta.url));
    const gzipped = gzipSync(content, { level: 9 }).length;
    const brotli = brotliCompressSync(content).length;
    print(file, `${content.length} bytes, gzip ${gzipped}, brotli ${brotli}`);
  }
}

const createEvent = (n) => ({
  type: "purchase",
  userId: `user-${n % 1000}`,
  data: { total: 12.5, currency: "EUR", sku: "mug-7", step: n },
});

/** Calls of track() while no server listens. */
function benchTrack(init, place, storage) {
  const count = 20_000;
  const merganser = init({
    apiKey: "key",
    endpoint: "http://127.0.0.1:9",
    storage,
    maxQueue: count,
  });
  const start = performance.now();
  for (let n = 0; n < count; n++) merganser.track(createEvent(n));
  print(`track() ${place}`, `${rate(count, start)} calls/s`);
  void merganser.close(0);
}

/** Events delivered by one client, which sends one request at a time. */
async function benchDelivery(init, endpoint, apiKey) {
  for (const batchSize of [100, 500]) {
    const merganser = init({ apiKey, endpoint, batchSize });
    const start = performance.now();
    let count = 0;
    while (performance.now() - start < SECONDS * 1000) {
      for (let n = 0; n < 5_000; n++) merganser.track(createEvent(count++));
      while (!(await merganser.flush())) await new Promise((done) => setTimeout(done, 10));
    }
    print(`delivered, ${batchSize} a request`, `${rate(count, start)} events/s`);
    await merganser.close();
  }
}

const rate = (count, start) => Math.round(count / ((performance.now() - start) / 1000));
const print = (label, value) => console.log(`${label.padEnd(28)} ${value}`);

/** Web Storage in memory. */
class MemoryStorage {
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
  await bench(...process.argv.slice(2));
} else {
  const server = await FakeIngest.started();
  server.behavior = (response, body) => accept(response, body, { events: [] });
  parentPort.postMessage(server.url);
}
