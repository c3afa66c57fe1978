// The client of Merganser sends the events of sdks.py, as built (`npm run build` in clients/javascript).
import { init } from "../../../clients/javascript/dist/merganser.mjs";

export default async function send({ url, key, user }) {
  const merganser = init({ apiKey: key, endpoint: url });
  merganser.page({ path: "/" });
  merganser.identify(user, { plan: "free" });
  merganser.track({ type: "purchase", data: { price: 12.5, sku: "mug-7" } });
  for (let number = 0; number < 25; number += 1) {
    merganser.track({ type: "step", data: { number } });
  }
}
