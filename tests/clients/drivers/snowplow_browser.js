// @snowplow/browser-tracker sends the events of sdks.py. The API key is its app id.
import {
  flushBuffer,
  newTracker,
  setUserId,
  trackPageView,
  trackSelfDescribingEvent,
} from "@snowplow/browser-tracker";

export default async function send({ url, key, user }) {
  newTracker("test", url, { appId: key });
  const say = (name, data) =>
    trackSelfDescribingEvent({
      event: { schema: `iglu:test.example/${name}/jsonschema/1-0-0`, data },
    });
  trackPageView({ title: "Home" });
  setUserId(user);
  say("identify", { plan: "free" });
  say("purchase", { price: 12.5, sku: "mug-7" });
  for (let number = 0; number < 25; number += 1) {
    say("step", { number });
  }
  setInterval(flushBuffer, 500); // what failed goes with what comes next, on a page that stays open
}
