// @jitsu/js sends the events of sdks.py.
import { jitsuAnalytics } from "@jitsu/js";

export default async function send({ url, key, user, visitor }) {
  const analytics = jitsuAnalytics({ host: url, writeKey: `web:${key}` });
  analytics.setAnonymousId(visitor);
  await analytics.page({ name: "Home", path: "/" });
  await analytics.identify(user, { plan: "free" });
  await analytics.track("purchase", { price: 12.5, sku: "mug-7" });
  for (let number = 0; number < 25; number += 1) {
    await analytics.track("step", { number });
  }
}
