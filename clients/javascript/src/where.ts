import type { Data, Store } from "./types";

/** Whether this is a page, that is, one visitor's; a server speaks for many. */
export const inBrowser = typeof document !== "undefined";

/** The browser's own storage, unless it keeps it from the page. */
export function localStorageOfPage(): Store | undefined {
  try {
    return inBrowser ? localStorage : undefined;
  } catch {
    return undefined; // blocked, as cookies then are
  }
}

/** What a pageview says of the page: where it is, whence the visitor came, and the campaign. */
export function pageData(): Data {
  if (!inBrowser) return {};
  const data: Data = {
    path: location.pathname,
    url: location.href,
    referrer: document.referrer,
    title: document.title,
  };
  for (const [name, value] of new URLSearchParams(location.search)) {
    if (name.startsWith("utm_")) data[name] = value;
  }
  return data;
}

/**
 * Runs work when no other tab that shares the storage does.
 *
 * Without TLS browsers have no locks: then two tabs may send the same event, which is one.
 */
export async function alone(name: string, work: () => Promise<void>): Promise<void> {
  await (inBrowser && navigator.locks ? navigator.locks.request(name, work) : work());
}
