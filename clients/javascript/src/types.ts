/** What a page or a program says of itself and of its events. */

/** Properties of an event. The server stores each value as a string, nested ones as JSON. */
export type Data = Record<string, unknown>;

/** Event types and their data, where a program does not name its own. */
export type AnyEvents = Record<string, Data>;

/** Those two ids by which the server knows people, and what else an event may say. */
export interface Fields {
  /** Your own id of the user; the remembered one by default. */
  userId?: string | number;
  /** The visitor's id; the remembered one by default. */
  anonymousId?: string;
  /** When it happened; now by default. A string is ISO 8601, a number milliseconds since 1970. */
  occurredAt?: Date | string | number;
  /** The event's id: sent again, it is the same event. Made here by default. */
  messageId?: string;
  /** Kept as data of the event. */
  sessionId?: string;
}

type Payload<D> = {} extends D ? { data?: D } : { data: D };

/** An event of one of the types of `E`, with the data of that type. */
export type TrackEvent<E = AnyEvents> = {
  [T in keyof E & string]: Fields & { type: T } & Payload<E[T]>;
}[keyof E & string];

/** What keeps texts under names: Web Storage, or as much of it as is needed here. */
export interface Store {
  readonly length: number;
  key(index: number): string | null;
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** How a client is to work. */
export interface Options {
  /** A key with the permission to write events. */
  apiKey: string;
  /** Where the gateway is, such as `https://events.example.com`. */
  endpoint: string;
  /** What holds until the visitor has chosen by `consent()`; true by default. */
  consent?: boolean;
  /** Begins the names of all that is kept: two clients of one site need two. `merganser`. */
  name?: string;
  /** Where to keep ids and events; in browsers localStorage by default, elsewhere nowhere. */
  storage?: Store;
  /** Events that may wait; beyond it the oldest goes. 1,000 in a storage, 10,000 in memory. */
  maxQueue?: number;
  /** Events of one request at most, and how many waiting ones are sent at once. 100 by default. */
  batchSize?: number;
  /** Milliseconds that an event waits for others. 1,000 by default. */
  flushInterval?: number;
  /** Milliseconds before the first retry; each further wait is twice as long. 1,000 by default. */
  retryMin?: number;
  /** Milliseconds that waits between retries grow to. 30,000 by default. */
  retryMax?: number;
  /** Milliseconds that an answer may take. 30,000 by default. */
  timeout?: number;
  /** Told of each event that will never be delivered; a warning on the console by default. */
  onDrop?: (event: unknown, reason: string) => void;
}

/** What `init` returns. Its functions need no `this`. */
export interface Client<E = AnyEvents> {
  /** Say that something happened; returns the event's messageId. */
  track(event: TrackEvent<E>): string | undefined;
  /** Say who the visitor is, and remember it: sends `identify` with both ids, which links them. */
  identify(userId: string | number, traits?: Data, fields?: Fields): string | undefined;
  /** Say that a page is looked at: sends `pageview` with where and whence, and `data` besides. */
  page(data?: Data, fields?: Fields): string | undefined;
  /** Forget who the visitor is, at a logout: the next events are somebody new's. */
  reset(): void;
  /** The visitor's choice, remembered: without consent nothing is sent or kept, not even ids. */
  consent(given: boolean): void;
  /** The visitor's id, to hand to a server; none where there is no visitor. */
  anonymousId(): string | undefined;
  /** Send what waits, now. Resolves to whether nothing waits any more. */
  flush(): Promise<boolean>;
  /** Deliver what waits, for `ms` milliseconds at most (10,000), and end. Resolves as `flush`. */
  close(ms?: number): Promise<boolean>;
}
