import { createDelivery } from "./delivery";
import { inBrowser, pageData, pageStorage, withTabLock } from "./environment";
import { createQueue } from "./queue";
import type { AnyEvents, Client, Data, Fields, Options, TrackEvent } from "./types";
import { uuid7 } from "./uuid";
import { createVisitorStore } from "./visitor-store";

const ANONYMOUS_ID = "anonymousId";
const USER_ID = "userId";
const CONSENT = "consent";

/**
 * Create a client.
 *
 * In a browser, or with a storage, the client belongs to one visitor and remembers the visitor's
 * ids. Elsewhere it sends for many users, and each event needs its ids.
 *
 * @typeParam E the program's event types and their data, such as
 * `{ purchase: { total: number } }`. By default each type and all data are allowed.
 */
export function init<E = AnyEvents>(options: Options): Client<E> {
  if (!options.apiKey || !options.endpoint) {
    throw new TypeError("merganser: init needs apiKey and endpoint");
  }
  const { apiKey, debug, name = "merganser", storage = pageStorage() } = options;
  const oneVisitor = inBrowser || !!storage;
  const visitor = createVisitorStore(name + ".", storage);
  const queue = createQueue(
    name + "-event.",
    storage,
    options.maxQueue ?? (storage ? 1_000 : 10_000),
    (json) => drop(JSON.parse(json), "the queue is full"),
  );
  const delivery = createDelivery(queue, {
    apiKey,
    url: options.endpoint.replace(/\/+$/, "") + "/api/v1/batch",
    batchSize: options.batchSize ?? 100,
    flushInterval: options.flushInterval ?? 1_000,
    retryMin: options.retryMin ?? 1_000,
    retryMax: options.retryMax ?? 30_000,
    timeout: options.timeout ?? 30_000,
    hasConsent,
    withLock: (work) => (storage ? withTabLock(name, work) : work()),
    onAccept: (json) => debug && console.debug("merganser: accepted", JSON.parse(json)),
    onDrop: (json, reason) => drop(JSON.parse(json), reason),
    onRetry: (reason, ms) =>
      debug && console.warn(`merganser: retry in ${Math.round(ms)} ms: ${reason}`),
  });
  let closed = false;

  function drop(event: unknown, reason: string): void {
    if (debug || !options.onDrop) console.warn("merganser: dropped: " + reason, event);
    options.onDrop?.(event, reason);
  }

  function hasConsent(): boolean {
    const choice = visitor.get(CONSENT);
    return choice ? choice === "yes" : options.consent !== false;
  }

  function anonymousId(): string | undefined {
    if (!oneVisitor) return undefined;
    if (!visitor.get(ANONYMOUS_ID)) visitor.set(ANONYMOUS_ID, uuid7(), hasConsent());
    return visitor.get(ANONYMOUS_ID);
  }

  function send(type: string, data: Data | undefined, fields: Fields): string | undefined {
    if (!hasConsent()) {
      if (debug) console.debug("merganser: not sent without consent", type);
      return undefined;
    }
    const event = {
      type,
      userId: fields.userId ?? (oneVisitor ? visitor.get(USER_ID) : undefined),
      anonymousId: fields.anonymousId ?? anonymousId(),
      occurredAt: fields.occurredAt ?? new Date(),
      messageId: fields.messageId ?? uuid7(),
      sessionId: fields.sessionId,
      data,
    };
    let json: string;
    try {
      json = JSON.stringify(event);
    } catch (error) {
      drop(event, String(error)); // data without a JSON form must not break the page
      return undefined;
    }
    if (closed) {
      drop(event, "the client is closed");
      return undefined;
    }
    queue.add(event.messageId, json);
    delivery.schedule();
    return event.messageId;
  }

  function reset(): void {
    visitor.remove(ANONYMOUS_ID);
    visitor.remove(USER_ID);
  }

  if (inBrowser) {
    addEventListener("online", delivery.retryNow);
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") delivery.sendBeforeUnload();
    });
  }
  if (queue.size()) delivery.schedule(); // events that an earlier page has left

  return {
    track: (event: TrackEvent<E>) => {
      const { type, data, ...fields } = event as TrackEvent;
      return send(type, data, fields);
    },
    identify(userId, traits, fields) {
      if (oneVisitor) visitor.set(USER_ID, String(userId), hasConsent());
      return send("identify", traits, { ...fields, userId });
    },
    page: (data, fields = {}) => send("pageview", { ...pageData(), ...data }, fields),
    reset,
    consent(given) {
      const ids = [ANONYMOUS_ID, USER_ID].map((id) => [id, visitor.get(id)] as const);
      visitor.set(CONSENT, given ? "yes" : "no", true);
      if (!given) {
        reset();
        queue.clear();
        return;
      }
      // Until now the ids were only in memory.
      for (const [id, value] of ids) if (value) visitor.set(id, value, true);
    },
    anonymousId,
    flush: delivery.flush,
    close(ms = 10_000) {
      closed = true;
      return delivery.close(ms);
    },
  };
}
