// @segment/analytics-node sends the events of sdks.py.
import { Analytics } from "@segment/analytics-node";

const [url, key, user, visitor] = process.argv.slice(2);
const analytics = new Analytics({ writeKey: key, host: url, flushInterval: 100 });
analytics.page({ anonymousId: visitor, name: "Home", properties: { path: "/" } });
analytics.identify({ userId: user, anonymousId: visitor, traits: { plan: "free" } });
analytics.track({
  userId: user,
  anonymousId: visitor,
  event: "purchase",
  properties: { price: 12.5, sku: "mug-7" },
});
for (let number = 0; number < 25; number += 1) {
  analytics.track({ userId: user, event: "step", properties: { number } });
}
await analytics.closeAndFlush();
