// rudder-sdk-js, the older one, sends the events of sdks.py.
import * as rudderanalytics from "rudder-sdk-js";

export default async function send({ url, key, user, visitor }) {
  rudderanalytics.load(key, url, { configUrl: url });
  await new Promise((ready) => rudderanalytics.ready(ready));
  rudderanalytics.setAnonymousId(visitor);
  rudderanalytics.page("Home", { path: "/" });
  rudderanalytics.identify(user, { plan: "free" });
  rudderanalytics.track("purchase", { price: 12.5, sku: "mug-7" });
  for (let number = 0; number < 25; number += 1) {
    rudderanalytics.track("step", { number });
  }
}
