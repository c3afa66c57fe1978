/**
 * The script tag: makes `window.merganser`.
 *
 *     <script async src="https://events.example.com/merganser.js" data-api-key="..."></script>
 *
 * With `data-api-key` it starts by itself, sends to where it came from, or to `data-endpoint`, and
 * says `page()`, unless `data-page` is `false`. `data-consent="false"` waits for consent.
 *
 * Calls made before it has come wait in an array of the same name:
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

const here = window as unknown as { merganser?: Merganser | Call[] };
const waiting = here.merganser;

const merganser: Merganser = {
  init: (options) => Object.assign(merganser, init(options)),
  push(...calls) {
    for (const [name, ...args] of calls) {
      (merganser[name] as (...args: unknown[]) => unknown)(...args);
    }
  },
};

here.merganser = merganser;

const { src, dataset } = document.currentScript as HTMLScriptElement;
if (dataset.apiKey) {
  merganser.init({
    apiKey: dataset.apiKey,
    endpoint: dataset.endpoint ?? new URL(".", src).href,
    consent: dataset.consent !== "false",
  });
  if (dataset.page !== "false") merganser.page!();
}
if (Array.isArray(waiting)) merganser.push(...waiting);
