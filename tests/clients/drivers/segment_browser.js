// @segment/analytics-next sends the events of sdks.py.
import { AnalyticsBrowser } from "@segment/analytics-next";

export default async function send({ url, key, user, visitor }) {
  const analytics = AnalyticsBrowser.load(
    { writeKey: key, cdnURL: url },
    { integrations: { "Segment.io": { apiHost: `${url.replace("http://", "")}/v1`, protocol: "http" } } },
  );
  await analytics.setAnonymousId(visitor);
  await analytics.page("Home", { path: "/" });
  await analytics.identify(user, { plan: "free" });
  await analytics.track("purchase", { price: 12.5, sku: "mug-7" });
  for (let number = 0; number < 25; number += 1) {
    await analytics.track("step", { number });
  }
}
