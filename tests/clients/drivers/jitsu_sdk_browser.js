// @jitsu/sdk-js, the older one, sends the events of sdks.py.
import { jitsuClient } from "@jitsu/sdk-js";

export default async function send({ url, key, user }) {
  const jitsu = jitsuClient({ key, tracking_host: url });
  await jitsu.track("page", { path: "/" });
  await jitsu.id({ id: user, email: `${user}@shop.example`, plan: "free" });
  await jitsu.track("purchase", { price: 12.5, sku: "mug-7" });
  for (let number = 0; number < 25; number += 1) {
    await jitsu.track("step", { number });
  }
}
