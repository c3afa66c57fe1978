"""rudder-sdk-python sends the events of sdks.py."""

import sys

from rudderstack import analytics

url, key, user, visitor = sys.argv[1:]
analytics.write_key, analytics.dataPlaneUrl = key, url
analytics.page(anonymous_id=visitor, name="Home", properties={"path": "/"})
analytics.identify(user_id=user, anonymous_id=visitor, traits={"plan": "free"})
analytics.track(user, "purchase", {"price": 12.5, "sku": "mug-7"}, anonymous_id=visitor)
for number in range(25):
    analytics.track(user, "step", {"number": number})
analytics.shutdown()
