// `npm run check` compiles this file and never runs it: what the types accept and refuse.
import { init } from "../src/index";

interface Shop {
  purchase: { total: number; currency?: string };
  "sign-in": { via?: string };
}

const shop = init<Shop>({ apiKey: "key", endpoint: "https://events.example.com" });
shop.track({ type: "purchase", data: { total: 5 } });
shop.track({ type: "purchase", data: { total: 5, currency: "EUR" } });
shop.track({ type: "purchase", data: { total: 5 }, userId: 1, occurredAt: new Date() });
shop.track({ type: "sign-in" });
shop.track({ type: "sign-in", data: { via: "google" } });
// @ts-expect-error: an unknown event type
shop.track({ type: "purchased", data: { total: 5 } });
// @ts-expect-error: a purchase has data
shop.track({ type: "purchase" });
// @ts-expect-error: the total is a number
shop.track({ type: "purchase", data: { total: "5" } });
// @ts-expect-error: data of another event type
shop.track({ type: "sign-in", data: { total: 5 } });
// @ts-expect-error: an unknown field
shop.track({ type: "sign-in", user: 1 });
// @ts-expect-error: a userId is a string or a number
shop.identify({ id: 1 });

const any = init({ apiKey: "key", endpoint: "https://events.example.com" });
any.track({ type: "anything", data: { at: { all: [1] } } });
any.track({ type: "anything" });
any.identify(1, { name: "Ann" });
any.page({ path: "/" });
// @ts-expect-error: an event has a type
any.track({ data: {} });
// @ts-expect-error: a key is needed
init({ endpoint: "https://events.example.com" });
