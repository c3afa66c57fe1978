// The parts of a browser that the client uses: pages that share storage, cookies and locks.
import { readFileSync } from "node:fs";
import { createContext, runInContext } from "node:vm";

const SCRIPT = readFileSync(new URL("../dist/merganser.js", import.meta.url), "utf8");

/** Web Storage with a quota in characters. */
export class FakeStorage {
  #items = new Map();
  quota = 5_000_000;

  get length() {
    return this.#items.size;
  }
  key(index) {
    return [...this.#items.keys()][index] ?? null;
  }
  getItem(key) {
    return this.#items.get(key) ?? null;
  }
  setItem(key, value) {
    const others = [...this.#items].filter(([other]) => other !== key).flat();
    if (others.join("").length + key.length + value.length > this.quota) {
      throw new DOMException("full", "QuotaExceededError");
    }
    this.#items.set(key, String(value));
  }
  removeItem(key) {
    this.#items.delete(key);
  }
  get keys() {
    return [...this.#items.keys()];
  }
}

/** navigator.locks of all tabs. A closed page releases its lock. */
class FakeLocks {
  #last = new Map();

  request(name, work, page) {
    const previous = this.#last.get(name) ?? Promise.resolve();
    const turn = previous.then(() => (page.open ? work() : new Promise(() => {})));
    this.#last.set(name, Promise.race([turn.catch(() => {}), page.closed]));
    return turn;
  }
}

/** The browser of one visitor. */
export class FakeBrowser {
  storage = new FakeStorage();
  cookies = new Map();
  locks = new FakeLocks();
  /** Whether pages have localStorage, cookies, locks, and fetch with keepalive. */
  supports = { storage: true, cookies: true, locks: true, keepalive: true };
  pages = [];

  /** Open a page that runs the code `before`, and then a script tag with the attributes `tag`. */
  open(ingest, { url = "https://shop.example/", tag = {}, before = "", referrer = "" } = {}) {
    const page = new Page(this, new URL(url), referrer);
    this.pages.push(page);
    page.run(before);
    page.load(ingest.url + "/merganser.js", tag);
    return page;
  }

  /** Open a page that calls `init` with these options. */
  init(ingest, options = {}, pageOptions = {}) {
    const page = this.open(ingest, pageOptions);
    page.merganser.init({ apiKey: "key", endpoint: ingest.url, ...shortIntervals, ...options });
    return page;
  }

  close() {
    for (const page of this.pages) page.end();
  }
}

/** Options that keep tests fast. */
export const shortIntervals = { flushInterval: 5, retryMin: 5, retryMax: 20 };

class Page {
  open = true;
  beacons = [];
  debugLines = [];
  warnings = [];
  errors = [];
  #timers = new Set();
  #requests = new Set();
  #listeners = new Map();
  #context;

  constructor(browser, url, referrer) {
    this.closed = new Promise((done) => (this.setClosed = done));
    const page = this;
    const listen = (type, listener) => {
      this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
    };
    const window = {
      URL,
      URLSearchParams,
      TextEncoder,
      AbortController,
      performance,
      crypto,
      location: url,
      console: {
        debug: (...values) => this.debugLines.push(values),
        warn: (...values) => this.warnings.push(values),
        error: (...values) => this.errors.push(values),
      },
      addEventListener: listen,
      setTimeout: (work, ms) => {
        const timer = setTimeout(() => this.open && work(), ms);
        this.#timers.add(timer);
        return timer;
      },
      clearTimeout,
      fetch: (address, init) => this.#fetch(address, init),
      navigator: {
        sendBeacon: (address, body) => {
          this.beacons.push(body);
          fetch(address, { method: "POST", body }).catch(() => {});
          return true;
        },
        ...(browser.supports.locks && {
          locks: { request: (name, work) => browser.locks.request(name, work, page) },
        }),
      },
      Request: browser.supports.keepalive ? Request : class {},
      document: {
        title: "Shop",
        referrer,
        visibilityState: "visible",
        currentScript: null,
        addEventListener: listen,
        get cookie() {
          return [...browser.cookies].map((pair) => pair.join("=")).join("; ");
        },
        set cookie(line) {
          if (!browser.supports.cookies) return;
          const [pair, ...attributes] = line.split("; ");
          const [name, value] = pair.split("=");
          if (attributes.includes("Max-Age=0")) browser.cookies.delete(name);
          else browser.cookies.set(name, value);
        },
      },
    };
    window.window = window;
    Object.defineProperty(window, "localStorage", {
      get() {
        if (!browser.supports.storage) throw new DOMException("blocked", "SecurityError");
        return browser.storage;
      },
    });
    this.window = window;
    this.#context = createContext(window);
  }

  run(code) {
    return runInContext(code, this.#context);
  }

  load(src, dataset) {
    this.window.document.currentScript = { src, dataset };
    this.run(SCRIPT);
    this.window.document.currentScript = null;
  }

  get merganser() {
    return this.window.merganser;
  }

  /** Dispatch an event of the window or the document. */
  fire(type) {
    for (const listener of this.#listeners.get(type) ?? []) listener();
  }

  show(state) {
    this.window.document.visibilityState = state;
    this.fire("visibilitychange");
  }

  /** The visitor opens another page or closes the tab. */
  leave() {
    this.show("hidden");
    this.end();
  }

  /** The page ends without an event: its timers and requests stop. */
  end() {
    this.open = false;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const request of this.#requests) request.abort();
    this.setClosed();
  }

  /** As in a browser: a request without keepalive ends with its page, and has no result. */
  async #fetch(address, init) {
    const pageEnd = new AbortController();
    if (!init.keepalive) this.#requests.add(pageEnd);
    if (init.keepalive && Buffer.byteLength(init.body) > 64 << 10) throw new TypeError("too much");
    const signal = AbortSignal.any([init.signal, pageEnd.signal]);
    const response = fetch(address, { ...init, signal }).catch((error) => error);
    const outcome = await Promise.race([response, this.closed]);
    if (!this.open) await new Promise(() => {});
    if (outcome instanceof Error) throw outcome;
    return outcome;
  }
}
