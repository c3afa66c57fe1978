// posthog-js sends the events of sdks.py.
import posthog from "posthog-js";

export default async function send({ url, key, user, visitor }) {
  posthog.init(key, {
    api_host: url,
    bootstrap: { distinctID: visitor },
    opt_out_useragent_filter: true, // a browser that is driven looks like a bot
    autocapture: false,
    capture_pageview: false,
    capture_pageleave: false,
    disable_session_recording: true,
    person_profiles: "always",
  });
  posthog.capture("$pageview", { path: "/" });
  posthog.identify(user, { plan: "free" });
  posthog.capture("purchase", { price: 12.5, sku: "mug-7" });
  for (let number = 0; number < 25; number += 1) {
    posthog.capture("step", { number });
  }
}
