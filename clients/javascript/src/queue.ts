import type { Store } from "./types";

/** A queued event: its key in the queue and its JSON. */
export type QueuedEvent = readonly [key: string, json: string];

/** Events that are not delivered yet, oldest first. */
export interface Queue {
  add(messageId: string, json: string): void;
  /** Return the oldest events: at most `maxEvents` and `maxBytes`, at least one if there is any. */
  first(maxEvents: number, maxBytes: number): QueuedEvent[];
  remove(events: QueuedEvent[]): void;
  clear(): void;
  /** Return the number of events. It may not include what other tabs have added or sent since. */
  size(): number;
}

/** The first sequence number: all numbers have the same length, so their texts sort as they do. */
const FIRST_SEQUENCE = 1e9;

const encoder = new TextEncoder();

/**
 * Create a queue in the storage. Events for which the storage has no room are queued in memory.
 *
 * Each event has its own key in the storage. So tabs of one site do not overwrite each other's
 * events, and each tab can send what a closed tab has left.
 *
 * @param maxSize the most events; beyond it, the oldest event is removed.
 * @param onFull called with the JSON of an event that is removed because the queue is full.
 */
export function createQueue(
  prefix: string,
  storage: Store | undefined,
  maxSize: number,
  onFull: (json: string) => void,
): Queue {
  const memory = new Map<string, string>();
  let sequence = FIRST_SEQUENCE;
  let storedCount = 0;
  readStoredKeys();

  /** Return the keys in the storage, oldest first, and update their count. */
  function readStoredKeys(): string[] {
    const keys: string[] = [];
    for (let index = storage?.length ?? 0; index--; ) {
      const key = storage!.key(index)!;
      if (key.startsWith(prefix)) keys.push(key);
    }
    storedCount = keys.length;
    return keys.sort();
  }

  function* all(): Generator<QueuedEvent> {
    for (const key of readStoredKeys()) {
      const json = storage!.getItem(key);
      if (json !== null) yield [key, json];
    }
    yield* memory;
  }

  function first(maxEvents: number, maxBytes: number): QueuedEvent[] {
    const events: QueuedEvent[] = [];
    for (const event of all()) {
      maxBytes -= encoder.encode(event[1]).length + 1;
      if (events.length && (events.length >= maxEvents || maxBytes < 0)) break;
      events.push(event);
    }
    return events;
  }

  function remove(events: QueuedEvent[]): void {
    for (const [key] of events) {
      // It may be removed already: a hidden page sends again what it is sending.
      if (!memory.delete(key) && storage && storage.getItem(key) !== null) {
        storage.removeItem(key);
        storedCount--;
      }
    }
  }

  const size = () => storedCount + memory.size;

  function store(key: string, json: string): boolean {
    try {
      storage?.setItem(key, json);
      return !!storage;
    } catch {
      return false; // the storage is full
    }
  }

  return {
    add(messageId, json) {
      if (size() >= maxSize) {
        const oldest = first(1, 0);
        // `first` has updated the count, which other tabs may have changed.
        if (size() >= maxSize) {
          remove(oldest);
          for (const [, json] of oldest) onFull(json);
        }
      }
      // Keys sort by time, and within a millisecond by sequence number.
      const key = `${prefix}${Date.now()}.${sequence++}.${messageId}`;
      if (store(key, json)) storedCount++;
      else memory.set(key, json);
    },
    first,
    remove,
    clear: () => remove([...all()]),
    size,
  };
}
