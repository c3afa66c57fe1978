/** The public types. */

/** Properties of an event. The server stores each value as a string, nested ones as JSON. */
export type Data = Record<string, unknown>;

/** Event types and their data, for a program that does not declare its own. */
export type AnyEvents = Record<string, Data>;

/** Fields of an event besides its type and data. */
export interface Fields {
  /** Your id of the user. Default: the id of the last `identify()`. */
  userId?: string | number;
  /** The id of an anonymous visitor. Default: the id that the client created for the visitor. */
  anonymousId?: string;
  /** When it happened: a Date, an ISO 8601 string, or milliseconds since 1970. Default: now. */
  occurredAt?: Date | string | number;
  /** The event's id. Events with the same id are stored once. Default: a new UUIDv7. */
  messageId?: string;
  /** Stored as data of the event. */
  sessionId?: string;
}

type Payload<D> = {} extends D ? { data?: D } : { data: D };

/** An event of one of the types of `E`, with the data of that type. */
export type TrackEvent<E = AnyEvents> = {
  [T in keyof E & string]: Fields & { type: T } & Payload<E[T]>;
}[keyof E & string];

/** A key-value store: the part of Web Storage that the client uses. */
export interface Store {
  readonly length: number;
  key(index: number): string | null;
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** Options of `init`. */
export interface Options {
  /** A publishable key in pages and apps, a secret key with `events:write` on servers. */
  apiKey: string;
  /** The URL of the ingest server, such as `https://events.example.com`. */
  endpoint: string;
  /** Whether the visitor consents, until `consent()` is called. Default: true. */
  consent?: boolean;
  /** Prefix of all names in the storage; each client of a site needs its own. `merganser`. */
  name?: string;
  /** Where ids and events are stored. Default: localStorage in browsers, none elsewhere. */
  storage?: Store;
  /** The most events in the queue. Default: 1,000 in a storage, 10,000 in memory. */
  maxQueue?: number;
  /** The most events in a request; so many queued events are sent at once. Default: 100. */
  batchSize?: number;
  /** Milliseconds that an event waits for others. Default: 1,000. */
  flushInterval?: number;
  /** Milliseconds before the first retry; each further retry doubles them. Default: 1,000. */
  retryMin?: number;
  /** The most milliseconds between two retries. Default: 30,000. */
  retryMax?: number;
  /** Milliseconds for the server to respond. Default: 30,000. */
  timeout?: number;
  /** Called for each event that the client gives up. Default: a warning on the console. */
  onDrop?: (event: unknown, reason: string) => void;
  /** Whether to print on the console what the server accepted and refused. Default: false. */
  debug?: boolean;
}

/** What `init` returns. Its functions do not use `this`. */
export interface Client<E = AnyEvents> {
  /** Queue an event; return its messageId. */
  track(event: TrackEvent<E>): string | undefined;
  /** Remember the user's id, and queue an `identify` event that links the visitor to the user. */
  identify(userId: string | number, traits?: Data, fields?: Fields): string | undefined;
  /** Queue a `pageview` event with the page's address, referrer and title, and `data`. */
  page(data?: Data, fields?: Fields): string | undefined;
  /** Forget the visitor's ids, for a logout: the next event gets a new anonymousId. */
  reset(): void;
  /** Store the visitor's choice. Without consent the client sends and stores nothing, not even ids. */
  consent(given: boolean): void;
  /** Return the visitor's anonymousId; undefined in Node without a storage. */
  anonymousId(): string | undefined;
  /** Send the queued events now. Resolves to whether the queue is empty. */
  flush(): Promise<boolean>;
  /** Deliver the queued events for at most `ms` milliseconds (10,000), and close. See `flush`. */
  close(ms?: number): Promise<boolean>;
}
