"""snowplow-tracker sends the events of sdks.py. The API key is its app id."""

import sys
import time
from urllib.parse import urlsplit

from snowplow_tracker import Emitter, PageView, SelfDescribing, SelfDescribingJson, Subject, Tracker

url, key, user, visitor = sys.argv[1:]
place = urlsplit(url)
subject = Subject().set_domain_user_id(visitor)
emitter = Emitter(place.hostname, protocol="http", port=place.port, batch_size=10)
tracker = Tracker("test", emitter, subject=subject, app_id=key)


def track_event(name: str, **data: object) -> None:
    schema = f"iglu:test.example/{name}/jsonschema/1-0-0"
    tracker.track(SelfDescribing(SelfDescribingJson(schema, data)))


tracker.track(PageView("http://shop.example/", page_title="Home"))
subject.set_user_id(user)
track_event("identify", plan="free")
track_event("purchase", price=12.5, sku="mug-7")
for number in range(25):
    track_event("step", number=number)
tracker.flush()
# A program that continues sends failed events together with its next ones.
while emitter.event_store.size():
    time.sleep(0.5)
    tracker.flush()
