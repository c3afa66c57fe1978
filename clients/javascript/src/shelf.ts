import type { Store } from "./types";

/** Small values that outlive a page: in the storage, else in a cookie, else in memory. */
export interface Shelf {
  get(name: string): string | undefined;
  /** Keep a value; only in memory, as long as the page lives, unless `lasting`. */
  set(name: string, value: string, lasting: boolean): void;
  remove(name: string): void;
}

const YEAR_SECONDS = 31_536_000;

/** A shelf. What is kept has a name that begins with `prefix`. */
export function makeShelf(prefix: string, storage: Store | undefined): Shelf {
  const memory = new Map<string, string>();
  const remove = (name: string) => {
    memory.delete(name);
    storage?.removeItem(prefix + name);
    if (readCookie(prefix + name) !== undefined) writeCookie(prefix + name, "", 0);
  };
  return {
    // Memory comes last and has only what could not be kept: other tabs may have changed the rest.
    get: (name) =>
      storage?.getItem(prefix + name) ?? readCookie(prefix + name) ?? memory.get(name),
    set(name, value, lasting) {
      remove(name);
      if (!lasting || !keep(prefix + name, value, storage)) memory.set(name, value);
    },
    remove,
  };
}

function keep(name: string, value: string, storage: Store | undefined): boolean {
  try {
    if (storage) {
      storage.setItem(name, value);
      return true;
    }
  } catch {
    // Full: a cookie may still have room.
  }
  writeCookie(name, value, YEAR_SECONDS);
  return readCookie(name) === value;
}

function readCookie(name: string): string | undefined {
  if (typeof document === "undefined") return undefined;
  const pair = document.cookie.split("; ").find((cookie) => cookie.startsWith(name + "="));
  return pair && decodeURIComponent(pair.slice(name.length + 1));
}

function writeCookie(name: string, value: string, seconds: number): void {
  if (typeof document === "undefined") return;
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie =
    `${name}=${encodeURIComponent(value)}; Path=/; Max-Age=${seconds}; SameSite=Lax` + secure;
}
