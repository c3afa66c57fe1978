import type { Entry, Queue } from "./queue";

/** Sends what waits in a queue: one request at a time, and again until it is taken. */
export interface Delivery {
  /** Something waits: send it before long. */
  soon(): void;
  /** Send what waits, unless a retry has still to wait. Resolves to whether nothing waits. */
  flush(): Promise<boolean>;
  /** The page may end any moment: send what it can, so that it arrives even then. */
  leave(): void;
  /** The network is back: wait no longer. */
  online(): void;
  /** Deliver for so many milliseconds at most, then end. */
  close(ms: number): Promise<boolean>;
}

/** How to send. */
export interface Manner {
  apiKey: string;
  url: string;
  batchSize: number;
  flushInterval: number;
  retryMin: number;
  retryMax: number;
  timeout: number;
  /** Whether anything may be sent now. */
  allowed: () => boolean;
  /** Runs the work when no other tab sends from the same storage. */
  alone: (work: () => Promise<void>) => Promise<void>;
  /** Told the JSON of each event that will never be delivered, and why. */
  onDrop: (json: string, reason: string) => void;
}

interface Result {
  success: boolean;
  message?: string;
}

/** What our gateway says: of a batch `events`, of a request that it refuses `message`. */
interface Answer {
  message?: string;
  events?: Result[];
}

/** Half of what the gateway reads, and of what browsers let a page send while it ends. */
const MOST_BYTES = 500_000;
const MOST_BYTES_LEAVING = 60_000;

const HOUR = 3_600_000;

/** The request is at fault, or one event of it: alone it would be refused, too. */
const AT_FAULT = [400, 413, 422];

/** Only a change of the program's or the server's configuration helps. */
const MISCONFIGURED = [401, 403, 404, 405];

/** A delivery of what waits in `queue`. */
export function makeDelivery(queue: Queue, manner: Manner): Delivery {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let sending: Promise<void> | undefined;
  let failures = 0;
  let notBefore = 0; // by a clock that nobody sets
  let complained = false;
  let endTimer: ReturnType<typeof setTimeout> | undefined;
  let closing = false;
  let ended = false;
  const requests = new Set<AbortController>();

  const toWait = () => Math.max(0, notBefore - performance.now());
  const may = () => !ended && queue.size() > 0 && !toWait() && manner.allowed();

  const body = (batch: Entry[]) =>
    `{"apiKey":${JSON.stringify(manner.apiKey)},"sentAt":"${new Date().toISOString()}",` +
    `"events":[${batch.map(([, json]) => json)}]}`;

  function run(work: Promise<void>): Promise<void> {
    return (sending = work.finally(() => {
      sending = undefined;
      if (queue.size()) soon(); // what came meanwhile, or a retry
    }));
  }

  async function sendAll(): Promise<void> {
    while (may()) {
      const batch = queue.first(manner.batchSize, MOST_BYTES);
      if (batch.length) await send(batch);
    }
  }

  /** Send a batch and settle what becomes of its events. */
  async function send(batch: Entry[], keepalive = false): Promise<void> {
    let response: Response | undefined;
    let answer: Answer | undefined;
    const request = new AbortController();
    const tooLate = setTimeout(() => request.abort(), manner.timeout);
    requests.add(request);
    try {
      // A text needs no preflight, and the key in the body no header that would.
      response = await fetch(manner.url, {
        method: "POST",
        body: body(batch),
        credentials: "omit",
        keepalive,
        signal: request.signal,
      });
      answer = (await response.json()) as Answer;
    } catch {
      // Nobody there, cut off, too slow, or not JSON, as what a hotel's network says to all.
    }
    clearTimeout(tooLate);
    requests.delete(request);
    const status = response?.status ?? 0;
    if (status === 200 && answer?.events?.length === batch.length) {
      failures = 0;
      complained = false;
      settle(batch, answer.events);
    } else if (AT_FAULT.includes(status)) {
      await sendApart(batch, answer?.message ?? `refused with ${status}`);
    } else {
      failLater(status, response?.headers.get("retry-after"), answer?.message);
    }
  }

  function settle(batch: Entry[], results: Result[]): void {
    queue.remove(batch);
    results.forEach((result, index) => {
      if (!result.success) manner.onDrop(batch[index]![1], result.message ?? "refused");
    });
  }

  /** Halve a batch until the event that is at fault is alone, and drop that. */
  async function sendApart(batch: Entry[], message: string): Promise<void> {
    const half = batch.length >> 1;
    if (!half) return settle(batch, [{ success: false, message }]);
    await send(batch.slice(0, half));
    if (may()) await send(batch.slice(half));
  }

  function failLater(status: number, retryAfter: string | null | undefined, why = ""): void {
    const backoff = Math.min(manner.retryMax, manner.retryMin * 2 ** failures++);
    notBefore = performance.now() + asked(retryAfter) + backoff * (0.5 + Math.random() / 2);
    if (MISCONFIGURED.includes(status) && !complained) {
      complained = true;
      console.error(`merganser: ${manner.url} answers ${status} ${why}; events wait`);
    }
  }

  function soon(): void {
    if (sending || closing || !manner.allowed()) return;
    const now = queue.size() >= manner.batchSize;
    if (timer && !now) return;
    clearTimeout(timer);
    timer = setTimeout(
      () => {
        timer = undefined;
        if (may()) void flush();
        else if (queue.size()) soon(); // timers may be a millisecond early
      },
      Math.max(now || failures ? 0 : manner.flushInterval, toWait()),
    );
  }

  async function flush(): Promise<boolean> {
    while (may()) await (sending ?? run(manner.alone(sendAll)));
    return !queue.size();
  }

  async function closeWhenEmpty(): Promise<void> {
    while (!(await flush()) && !ended && manner.allowed()) {
      await new Promise((wake) => (timer = setTimeout(wake, toWait())));
    }
  }

  return {
    soon,
    flush,
    leave() {
      const batch = may() ? queue.first(Infinity, MOST_BYTES_LEAVING) : [];
      if (!batch.length) return;
      if ("keepalive" in Request.prototype) {
        const going = send(batch, true);
        sending ??= run(going);
      } else {
        // No answer is to be had. What it took stays, and is sent again by the next page.
        navigator.sendBeacon(manner.url, body(batch));
      }
    },
    online() {
      failures = notBefore = 0;
      clearTimeout(timer);
      timer = undefined;
      if (queue.size()) soon();
    },
    async close(ms) {
      closing = true;
      clearTimeout(timer);
      const end = new Promise<void>((done) => (endTimer = setTimeout(done, ms)));
      await Promise.race([closeWhenEmpty(), end]);
      ended = true;
      clearTimeout(endTimer);
      clearTimeout(timer);
      for (const request of requests) request.abort();
      return !queue.size();
    },
  };
}

/** Milliseconds that a Retry-After asks for: it has seconds or a date. An hour at most. */
function asked(retryAfter: string | null | undefined): number {
  if (!retryAfter) return 0;
  const seconds = Number(retryAfter);
  const ms = Number.isNaN(seconds) ? Date.parse(retryAfter) - Date.now() : seconds * 1000;
  return Math.min(HOUR, Math.max(0, ms || 0));
}
