// @snowplow/node-tracker sends the events of sdks.py. The API key is its app id.
import { buildPageView, buildSelfDescribingEvent, newTracker } from "@snowplow/node-tracker";

const [url, key, user, visitor] = process.argv.slice(2);
const { hostname, port } = new URL(url);
const tracker = newTracker(
  { namespace: "test", appId: key },
  { endpoint: hostname, port: Number(port), protocol: "http", bufferSize: 10 },
);
const say = (name, data) =>
  tracker.track(
    buildSelfDescribingEvent({
      event: { schema: `iglu:test.example/${name}/jsonschema/1-0-0`, data },
    }),
  );
tracker.setDomainUserId(visitor);
tracker.track(buildPageView({ pageUrl: "http://shop.example/", pageTitle: "Home" }));
tracker.setUserId(user);
say("identify", { plan: "free" });
say("purchase", { price: 12.5, sku: "mug-7" });
for (let number = 0; number < 25; number += 1) {
  say("step", { number });
}
tracker.flush();
// What failed goes with what comes next, in a program that goes on.
setInterval(() => tracker.flush(), 500);
process.stdin.resume().on("end", () => process.exit());
