// @rudderstack/analytics-js sends the events of sdks.py.
import { RudderAnalytics } from "@rudderstack/analytics-js/bundled";

export default async function send({ url, key, user, visitor }) {
  const analytics = new RudderAnalytics();
  analytics.load(key, url, { configUrl: url });
  await new Promise((ready) => analytics.ready(ready));
  analytics.setAnonymousId(visitor);
  analytics.page("Home", { path: "/" });
  analytics.identify(user, { plan: "free" });
  analytics.track("purchase", { price: 12.5, sku: "mug-7" });
  for (let number = 0; number < 25; number += 1) {
    analytics.track("step", { number });
  }
}
