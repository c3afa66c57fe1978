// posthog-node sends the events of sdks.py.
import { PostHog } from "posthog-node";

const [url, key, user, visitor] = process.argv.slice(2);
const client = new PostHog(key, { host: url, flushInterval: 100 });
client.capture({
  distinctId: visitor,
  event: "$pageview",
  properties: { $process_person_profile: false, path: "/" },
});
client.capture({
  distinctId: user,
  event: "$identify",
  properties: { $anon_distinct_id: visitor, $set: { plan: "free" } },
});
client.capture({
  distinctId: user,
  event: "purchase",
  properties: { price: 12.5, sku: "mug-7" },
});
for (let number = 0; number < 25; number += 1) {
  client.capture({ distinctId: user, event: "step", properties: { number } });
}
await client.shutdown();
