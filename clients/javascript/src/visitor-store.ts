import type { Store } from "./types";

/** The visitor's ids and consent: in the storage, else in a cookie, else in memory. */
export interface VisitorStore {
  get(name: string): string | undefined;
  /** Store a value. It outlives the page only if `persistent`. */
  set(name: string, value: string, persistent: boolean): void;
  remove(name: string): void;
}

const YEAR_SECONDS = 31_536_000;

/** Create a store. The names of its items and cookies begin with `prefix`. */
export function createVisitorStore(prefix: string, storage: Store | undefined): VisitorStore {
  const memory = new Map<string, string>();
  const remove = (name: string) => {
    memory.delete(name);
    storage?.removeItem(prefix + name);
    if (readCookie(prefix + name) !== undefined) writeCookie(prefix + name, "", 0);
  };
  return {
    // Memory is last: another tab may have changed the storage or the cookie since.
    get: (name) =>
      storage?.getItem(prefix + name) ?? readCookie(prefix + name) ?? memory.get(name),
    set(name, value, persistent) {
      remove(name);
      if (!persistent || !persist(prefix + name, value, storage)) memory.set(name, value);
    },
    remove,
  };
}

function persist(name: string, value: string, storage: Store | undefined): boolean {
  try {
    if (storage) {
      storage.setItem(name, value);
      return true;
    }
  } catch {
    // The storage is full: use a cookie.
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
