// @rudderstack/rudder-sdk-node sends the events of sdks.py.
import RudderAnalytics from "@rudderstack/rudder-sdk-node";

const [url, key, user, visitor] = process.argv.slice(2);
const client = new RudderAnalytics(key, { dataPlaneUrl: url, flushInterval: 100 });
client.page({ anonymousId: visitor, name: "Home", properties: { path: "/" } });
client.identify({ userId: user, anonymousId: visitor, traits: { plan: "free" } });
client.track({
  userId: user,
  anonymousId: visitor,
  event: "purchase",
  properties: { price: 12.5, sku: "mug-7" },
});
for (let number = 0; number < 25; number += 1) {
  client.track({ userId: user, event: "step", properties: { number } });
}
await client.flush();
