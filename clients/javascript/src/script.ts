/**
 * The script of the tag, which creates `window.merganser`.
 *
 *     <script async src="https://events.example.com/merganser.js" data-api-key="mk_pub_..."></script>
 *
 * With `data-api-key` the script calls `init()`, with the server it was loaded from as the endpoint,
 * and `page()`. The attributes `data-endpoint`, `data-page="false"`, `data-consent="false"` and
 * `data-debug="true"` change that.
 *
 * A page can queue calls before the script is loaded:
 *
 *     (window.merganser ||= []).push(["track", { type: "sign-in" }]);
 */
import { init } from "./client";
import type { Client, Options } from "./types";

type Call = [name: keyof Client, ...args: unknown[]];

interface Merganser extends Partial<Client> {
  init(options: Options): Merganser;
  push(...calls: Call[]): void;
}

const page = window as unknown as { merganser?: Merganser | Call[] };
const queuedCalls = page.merganser;

const merganser: Merganser = {
  init: (options) => Object.assign(merganser, init(options)),
  push(...calls) {
    for (const [name, ...args] of calls) {
      (merganser[name] as (...args: unknown[]) => unknown)(...args);
    }
  },
};

page.merganser = merganser;

const { src, dataset } = document.currentScript as HTMLScriptElement;
if (dataset.apiKey) {
  merganser.init({
    apiKey: dataset.apiKey,
    endpoint: dataset.endpoint ?? new URL(".", src).href,
    consent: dataset.consent !== "false",
    debug: dataset.debug === "true",
  });
  if (dataset.page !== "false") merganser.page!();
}
if (Array.isArray(queuedCalls)) merganser.push(...queuedCalls);
