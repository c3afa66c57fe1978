"""snowplow-tracker tells the story. The API key is its app id."""

import sys
import time
from urllib.parse import urlsplit

from snowplow_tracker import Emitter, PageView, SelfDescribing, SelfDescribingJson, Subject, Tracker

url, key, user, visitor = sys.argv[1:]
place = urlsplit(url)
subject = Subject().set_domain_user_id(visitor)
emitter = Emitter(place.hostname, protocol="http", port=place.port, batch_size=10)
tracker = Tracker("story", emitter, subject=subject, app_id=key)


def say(name: str, **data: object) -> None:
    schema = f"iglu:test.example/{name}/jsonschema/1-0-0"
    tracker.track(SelfDescribing(SelfDescribingJson(schema, data)))


tracker.track(PageView("http://shop.example/", page_title="Home"))
subject.set_user_id(user)
say("identify", plan="free")
say("purchase", price=12.5, sku="mug-7")
for number in range(25):
    say("step", number=number)
tracker.flush()
# What failed goes with what comes next, in a program that goes on.
while emitter.event_store.size():
    time.sleep(0.5)
    tracker.flush()
