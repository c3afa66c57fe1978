// @grouparoo/client-web, the client of Grouparoo, sends the events of sdks.py.
import GrouparooWebClient from "@grouparoo/client-web";

export default async function send({ url, key, user, visitor }) {
  const client = new GrouparooWebClient({ host: url, apiKey: key, anonymousId: visitor });
  await client.track("page", { path: "/" });
  await client.identify(user, { plan: "free" });
  await client.track("purchase", { price: 12.5, sku: "mug-7" });
  for (let number = 0; number < 25; number += 1) {
    await client.track("step", { number });
  }
}
