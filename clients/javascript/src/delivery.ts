import type { Queue, QueuedEvent } from "./queue";

/** Sends the events of a queue: one request at a time, with retries until the server accepts them. */
export interface Delivery {
  /** Send the queued events soon: when a batch is full, or after the flush interval. */
  schedule(): void;
  /** Send the queued events now, unless a retry has to wait. Resolves to whether the queue is empty. */
  flush(): Promise<boolean>;
  /** Send what a browser still sends after it closes the page. */
  sendBeforeUnload(): void;
  /** Retry without a delay: the browser is online again. */
  retryNow(): void;
  /** Send for at most `ms` milliseconds, then stop. Resolves as `flush`. */
  close(ms: number): Promise<boolean>;
}

export interface DeliveryOptions {
  apiKey: string;
  url: string;
  batchSize: number;
  flushInterval: number;
  retryMin: number;
  retryMax: number;
  timeout: number;
  /** Returns whether the visitor consents to sending. */
  hasConsent: () => boolean;
  /** Runs the work while no other tab sends from the same storage. */
  withLock: (work: () => Promise<void>) => Promise<void>;
  /** Called with the JSON of each event that the server accepted. */
  onAccept: (json: string) => void;
  /** Called with the JSON of each event that is given up, and the reason. */
  onDrop: (json: string, reason: string) => void;
  /** Called with the reason of a failed request, and the milliseconds until the retry. */
  onRetry: (reason: string, ms: number) => void;
}

interface Result {
  success: boolean;
  message?: string;
}

/** The JSON of a response: `events` for an accepted batch, `message` for a refused request. */
interface ResponseBody {
  message?: string;
  events?: Result[];
}

/** Half of the server's default limit for a body. */
const MAX_BYTES = 500_000;
/** Browsers send 64 KiB at most after they close a page. */
const MAX_UNLOAD_BYTES = 60_000;

const HOUR_MS = 3_600_000;

/** The server refuses the request because of its content, perhaps because of one event. */
const INVALID = [400, 413, 422];

/** Retries fail until a person changes the configuration. */
const MISCONFIGURED = [401, 403, 404, 405];

export function createDelivery(queue: Queue, options: DeliveryOptions): Delivery {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let sending: Promise<void> | undefined;
  let failures = 0;
  let retryAt = 0; // by performance.now(), which does not follow changes of the system time
  let reportedMisconfigured = false;
  let closeTimer: ReturnType<typeof setTimeout> | undefined;
  let closing = false;
  let closed = false;
  const requests = new Set<AbortController>();

  const retryDelay = () => Math.max(0, retryAt - performance.now());
  const canSend = () => !closed && queue.size() > 0 && !retryDelay() && options.hasConsent();

  const createBody = (batch: QueuedEvent[]) =>
    `{"apiKey":${JSON.stringify(options.apiKey)},"sentAt":"${new Date().toISOString()}",` +
    `"events":[${batch.map(([, json]) => json)}]}`;

  /** Return a server's message without the key, which a server may repeat. */
  const redact = (message: string) => String(message).split(options.apiKey).join("[apiKey]");

  function run(work: Promise<void>): Promise<void> {
    return (sending = work.finally(() => {
      sending = undefined;
      if (queue.size()) schedule(); // new events, or a retry
    }));
  }

  async function sendAll(): Promise<void> {
    while (canSend()) {
      const batch = queue.first(options.batchSize, MAX_BYTES);
      if (batch.length) await send(batch);
    }
  }

  /** Send a batch, and handle the response. */
  async function send(batch: QueuedEvent[], keepalive = false): Promise<void> {
    let response: Response | undefined;
    let content: ResponseBody | undefined;
    const request = new AbortController();
    const timeout = setTimeout(() => request.abort(), options.timeout);
    requests.add(request);
    try {
      // Neither a body of type text/plain nor a key in the body causes a CORS preflight.
      response = await fetch(options.url, {
        method: "POST",
        body: createBody(batch),
        credentials: "omit",
        keepalive,
        signal: request.signal,
      });
      content = (await response.json()) as ResponseBody;
    } catch {
      // No response, a timeout, or not JSON: a captive portal responds with HTML, for example.
    }
    clearTimeout(timeout);
    requests.delete(request);
    const status = response?.status ?? 0;
    if (status === 200 && content?.events?.length === batch.length) {
      failures = 0;
      reportedMisconfigured = false;
      settle(batch, content.events);
    } else if (INVALID.includes(status)) {
      await sendHalves(batch, content?.message ?? `status ${status}`);
    } else {
      retryLater(status, response?.headers.get("retry-after"), content?.message);
    }
  }

  function settle(batch: QueuedEvent[], results: Result[]): void {
    queue.remove(batch);
    results.forEach(({ success, message }, index) => {
      const json = batch[index]![1];
      if (success) options.onAccept(json);
      else options.onDrop(json, redact(message ?? "refused"));
    });
  }

  /** Halve a refused batch until the invalid event is alone, and drop that event. */
  async function sendHalves(batch: QueuedEvent[], message: string): Promise<void> {
    const half = batch.length >> 1;
    if (!half) return settle(batch, [{ success: false, message }]);
    await send(batch.slice(0, half));
    if (canSend()) await send(batch.slice(half));
  }

  function retryLater(status: number, retryAfter: string | null | undefined, message = ""): void {
    const backoff = Math.min(options.retryMax, options.retryMin * 2 ** failures++);
    const ms = parseRetryAfter(retryAfter) + backoff * (0.5 + Math.random() / 2);
    retryAt = performance.now() + ms;
    const reason = status ? redact(`status ${status} ${message}`) : "no response";
    options.onRetry(reason, ms);
    if (MISCONFIGURED.includes(status) && !reportedMisconfigured) {
      reportedMisconfigured = true;
      console.error(`merganser: ${options.url}: ${reason}; check apiKey and endpoint. Events wait`);
    }
  }

  function schedule(): void {
    if (sending || closing || !options.hasConsent()) return;
    const full = queue.size() >= options.batchSize;
    if (timer && !full) return;
    clearTimeout(timer);
    timer = setTimeout(
      () => {
        timer = undefined;
        if (canSend()) void flush();
        else if (queue.size()) schedule(); // a timer may fire a millisecond early
      },
      Math.max(full || failures ? 0 : options.flushInterval, retryDelay()),
    );
  }

  async function flush(): Promise<boolean> {
    while (canSend()) await (sending ?? run(options.withLock(sendAll)));
    return !queue.size();
  }

  async function flushUntilEmpty(): Promise<void> {
    while (!(await flush()) && !closed && options.hasConsent()) {
      await new Promise((wake) => (timer = setTimeout(wake, retryDelay())));
    }
  }

  return {
    schedule,
    flush,
    sendBeforeUnload() {
      const batch = canSend() ? queue.first(Infinity, MAX_UNLOAD_BYTES) : [];
      if (!batch.length) return;
      if ("keepalive" in Request.prototype) {
        const request = send(batch, true);
        sending ??= run(request);
      } else {
        // A beacon has no response: the events stay queued, and the next page sends them again.
        navigator.sendBeacon(options.url, createBody(batch));
      }
    },
    retryNow() {
      failures = retryAt = 0;
      clearTimeout(timer);
      timer = undefined;
      if (queue.size()) schedule();
    },
    async close(ms) {
      closing = true;
      clearTimeout(timer);
      const timeout = new Promise<void>((done) => (closeTimer = setTimeout(done, ms)));
      await Promise.race([flushUntilEmpty(), timeout]);
      closed = true;
      clearTimeout(closeTimer);
      clearTimeout(timer);
      for (const request of requests) request.abort();
      return !queue.size();
    },
  };
}

/** Return the milliseconds of a Retry-After header, which has seconds or a date; at most an hour. */
function parseRetryAfter(header: string | null | undefined): number {
  if (!header) return 0;
  const seconds = Number(header);
  const ms = Number.isNaN(seconds) ? Date.parse(header) - Date.now() : seconds * 1000;
  return Math.min(HOUR_MS, Math.max(0, ms || 0));
}
