// As much of a browser as the client uses: tabs with pages that share storage, cookies and locks.
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

/** navigator.locks of all tabs. A closed page's lock is free. */
class Locks {
  #last = new Map();

  request(name, work, page) {
    const before = this.#last.get(name) ?? Promise.resolve();
    const turn = before.then(() => (page.open ? work() : new Promise(() => {})));
    this.#last.set(name, Promise.race([turn.catch(() => {}), page.closed]));
    return turn;
  }
}

/** A visitor's browser. */
export class Browser {
  storage = new FakeStorage();
  cookies = new Map();
  locks = new Locks();
  /** Whether pages have localStorage, cookies, locks, and fetch with keepalive. */
  has = { storage: true, cookies: true, locks: true, keepalive: true };
  pages = [];

  /** Open a page; with `tag`, attributes of a script tag, or none, and `before`, code before it. */
  open(gateway, { url = "https://shop.example/", tag = {}, before = "", referrer = "" } = {}) {
    const page = new Page(this, new URL(url), referrer);
    this.pages.push(page);
    page.run(before);
    page.load(gateway.url + "/merganser.js", tag);
    return page;
  }

  /** Open a page whose client is made by `init` with these options. */
  init(gateway, options = {}, where = {}) {
    const page = this.open(gateway, where);
    page.merganser.init({ apiKey: "key", endpoint: gateway.url, ...quick, ...options });
    return page;
  }

  close() {
    for (const page of this.pages) page.end();
  }
}

/** Intervals for tests. */
export const quick = { flushInterval: 5, retryMin: 5, retryMax: 20 };

class Page {
  open = true;
  beacons = [];
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
        warn: (...said) => this.warnings.push(said),
        error: (...said) => this.errors.push(said),
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
        ...(browser.has.locks && {
          locks: { request: (name, work) => browser.locks.request(name, work, page) },
        }),
      },
      Request: browser.has.keepalive ? Request : class {},
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
          if (!browser.has.cookies) return;
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
        if (!browser.has.storage) throw new DOMException("blocked", "SecurityError");
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

  /** A browser's event. */
  fire(type) {
    for (const listener of this.#listeners.get(type) ?? []) listener();
  }

  show(state) {
    this.window.document.visibilityState = state;
    this.fire("visibilitychange");
  }

  /** The visitor goes on to another page or closes the tab. */
  leave() {
    this.show("hidden");
    this.end();
  }

  /** The page is gone, without notice: nothing of it runs any more. */
  end() {
    this.open = false;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const request of this.#requests) request.abort();
    this.setClosed();
  }

  /** Like a browser's: a request without keepalive ends with its page, and nobody hears of it. */
  async #fetch(address, init) {
    const ending = new AbortController();
    if (!init.keepalive) this.#requests.add(ending);
    if (init.keepalive && Buffer.byteLength(init.body) > 64 << 10) throw new TypeError("too much");
    const signal = AbortSignal.any([init.signal, ending.signal]);
    const answer = fetch(address, { ...init, signal }).catch((error) => error);
    const outcome = await Promise.race([answer, this.closed]);
    if (!this.open) await new Promise(() => {});
    if (outcome instanceof Error) throw outcome;
    return outcome;
  }
}
