import type { Data, Store } from "./types";

/** Whether the client runs in a page, that is, for one visitor; a server sends for many. */
export const inBrowser = typeof document !== "undefined";

/** Return localStorage; undefined outside of browsers, and where the browser blocks it. */
export function pageStorage(): Store | undefined {
  try {
    return inBrowser ? localStorage : undefined;
  } catch {
    return undefined;
  }
}

/** Return the data of a pageview: the page's address, referrer, title and `utm_*` parameters. */
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
 * Run `work` while no other tab of the site runs work under this lock.
 *
 * Browsers have locks only on pages with TLS. Elsewhere two tabs may send the same event, which the
 * server stores once.
 */
export async function withTabLock(name: string, work: () => Promise<void>): Promise<void> {
  await (inBrowser && navigator.locks ? navigator.locks.request(name, work) : work());
}
