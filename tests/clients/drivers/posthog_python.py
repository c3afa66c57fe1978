"""posthog (Python) sends the events of sdks.py."""

import sys

from posthog import Posthog

url, key, user, visitor = sys.argv[1:]
client = Posthog(key, host=url, flush_interval=0.1)
personless = {"$process_person_profile": False}
client.capture("$pageview", distinct_id=visitor, properties={**personless, "path": "/"})
client.capture(
    "$identify",
    distinct_id=user,
    properties={"$anon_distinct_id": visitor, "$set": {"plan": "free"}},
)
client.capture("purchase", distinct_id=user, properties={"price": 12.5, "sku": "mug-7"})
for number in range(25):
    client.capture("step", distinct_id=user, properties={"number": number})
client.shutdown()
