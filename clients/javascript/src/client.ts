import { makeDelivery } from "./delivery";
import { makeQueue } from "./queue";
import { makeShelf } from "./shelf";
import type { AnyEvents, Client, Data, Fields, Options, TrackEvent } from "./types";
import { uuid7 } from "./uuid";
import { alone, inBrowser, localStorageOfPage, pageData } from "./where";

const ANONYMOUS = "anonymousId";
const USER = "userId";
const CONSENT = "consent";

/**
 * Make a client.
 *
 * In a browser, or with a storage, it is one visitor's: it remembers who that is. Elsewhere it is a
 * server's, which speaks for many, and each event says its own ids.
 *
 * @typeParam E the program's event types and the data of each, such as
 * `{ purchase: { total: number } }`; without it all are allowed.
 */
export function init<E = AnyEvents>(options: Options): Client<E> {
  if (!options.apiKey || !options.endpoint) {
    throw new TypeError("merganser: init needs apiKey and endpoint");
  }
  const { name = "merganser", storage = localStorageOfPage(), onDrop = warn } = options;
  const visitor = inBrowser || !!storage;
  const shelf = makeShelf(name + ".", storage);
  const queue = makeQueue(
    name + "-event.",
    storage,
    options.maxQueue ?? (storage ? 1_000 : 10_000),
    (json) => onDrop(JSON.parse(json), "the queue is full"),
  );
  const delivery = makeDelivery(queue, {
    apiKey: options.apiKey,
    url: options.endpoint.replace(/\/+$/, "") + "/api/v1/batch",
    batchSize: options.batchSize ?? 100,
    flushInterval: options.flushInterval ?? 1_000,
    retryMin: options.retryMin ?? 1_000,
    retryMax: options.retryMax ?? 30_000,
    timeout: options.timeout ?? 30_000,
    allowed,
    alone: (work) => (storage ? alone(name, work) : work()),
    onDrop: (json, reason) => onDrop(JSON.parse(json), reason),
  });
  let closed = false;

  function allowed(): boolean {
    const chosen = shelf.get(CONSENT);
    return chosen ? chosen === "yes" : options.consent !== false;
  }

  function anonymousId(): string | undefined {
    if (!visitor) return undefined;
    if (!shelf.get(ANONYMOUS)) shelf.set(ANONYMOUS, uuid7(), allowed());
    return shelf.get(ANONYMOUS);
  }

  function send(type: string, data: Data | undefined, fields: Fields): string | undefined {
    if (!allowed()) return undefined;
    const event = {
      type,
      userId: fields.userId ?? (visitor ? shelf.get(USER) : undefined),
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
      onDrop(event, String(error)); // what JSON cannot say must not break the page
      return undefined;
    }
    if (closed) {
      onDrop(event, "the client is closed");
      return undefined;
    }
    queue.add(event.messageId, json);
    delivery.soon();
    return event.messageId;
  }

  function forget(): void {
    shelf.remove(ANONYMOUS);
    shelf.remove(USER);
  }

  if (inBrowser) {
    addEventListener("online", delivery.online);
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") delivery.leave();
    });
  }
  if (queue.size()) delivery.soon(); // what an earlier page has left

  return {
    track: (event: TrackEvent<E>) => {
      const { type, data, ...fields } = event as TrackEvent;
      return send(type, data, fields);
    },
    identify(userId, traits, fields) {
      if (visitor) shelf.set(USER, String(userId), allowed());
      return send("identify", traits, { ...fields, userId });
    },
    page: (data, fields = {}) => send("pageview", { ...pageData(), ...data }, fields),
    reset: forget,
    consent(given) {
      // What was kept in memory until now is kept for longer; a refusal is all that is kept of one.
      const known = [ANONYMOUS, USER].map((id) => [id, shelf.get(id)] as const);
      shelf.set(CONSENT, given ? "yes" : "no", true);
      if (!given) {
        forget();
        queue.clear();
        return;
      }
      for (const [id, value] of known) if (value) shelf.set(id, value, true);
    },
    anonymousId,
    flush: delivery.flush,
    close(ms = 10_000) {
      closed = true;
      return delivery.close(ms);
    },
  };
}

function warn(event: unknown, reason: string): void {
  console.warn("merganser: an event is dropped: " + reason, event);
}
