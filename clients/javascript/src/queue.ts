import type { Store } from "./types";

/** An event that waits: its key in the queue and its JSON. */
export type Entry = readonly [key: string, json: string];

/** Events that wait to be sent, oldest first. */
export interface Queue {
  add(messageId: string, json: string): void;
  /** The oldest, at most so many and with so many bytes; at least one if there is any. */
  first(most: number, bytes: number): Entry[];
  remove(entries: Entry[]): void;
  clear(): void;
  /** How many wait; those that other tabs have added or sent may be missing from the count. */
  size(): number;
}

/** So that all numbers have as many digits, and texts sort as they do. */
const FIRST_NUMBER = 1e9;

const encoder = new TextEncoder();

/**
 * A queue in the storage, or in memory what the storage does not take.
 *
 * Every event has a key of its own there, so that tabs which share the storage never overwrite each
 * other's, and each can send what a closed one has left.
 *
 * @param most how many may wait: beyond it the oldest goes, and `onFull` is told its JSON.
 */
export function makeQueue(
  prefix: string,
  storage: Store | undefined,
  most: number,
  onFull: (json: string) => void,
): Queue {
  const memory = new Map<string, string>();
  let added = 0;
  let stored = 0;
  storedKeys();

  /** The keys in the storage, oldest first; counts them anew. */
  function storedKeys(): string[] {
    const keys: string[] = [];
    for (let index = storage?.length ?? 0; index--; ) {
      const key = storage!.key(index)!;
      if (key.startsWith(prefix)) keys.push(key);
    }
    stored = keys.length;
    return keys.sort();
  }

  function* entries(): Generator<Entry> {
    for (const key of storedKeys()) {
      const json = storage!.getItem(key);
      if (json !== null) yield [key, json];
    }
    yield* memory;
  }

  function first(most: number, bytes: number): Entry[] {
    const found: Entry[] = [];
    for (const entry of entries()) {
      bytes -= encoder.encode(entry[1]).length + 1;
      if (found.length && (found.length >= most || bytes < 0)) break;
      found.push(entry);
    }
    return found;
  }

  function remove(gone: Entry[]): void {
    for (const [key] of gone) {
      // It may be gone already: a page that leaves sends again what is on its way.
      if (!memory.delete(key) && storage && storage.getItem(key) !== null) {
        storage.removeItem(key);
        stored--;
      }
    }
  }

  const size = () => stored + memory.size;

  function keep(key: string, json: string): boolean {
    try {
      storage?.setItem(key, json);
      return !!storage;
    } catch {
      return false; // full
    }
  }

  return {
    add(messageId, json) {
      if (size() >= most) {
        const oldest = first(1, 0);
        // Asking for the oldest has also counted anew.
        if (size() >= most) {
          remove(oldest);
          for (const [, json] of oldest) onFull(json);
        }
      }
      // Keys sort by the time, and those of one millisecond by their number.
      const key = `${prefix}${Date.now()}.${FIRST_NUMBER + added++}.${messageId}`;
      if (keep(key, json)) stored++;
      else memory.set(key, json);
    },
    first,
    remove,
    clear: () => remove([...entries()]),
    size,
  };
}
