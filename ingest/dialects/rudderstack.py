"""RudderStack's own paths: the rest is Segment's API, and `segment.py` says how events map.

Its clients send `originalTimestamp` and the traits of identify in `context.traits`, which is known
there. Browser clients ask for `/sourceConfig` first and send nothing without it; their beacons
cannot have headers, and so have the key in the URL: `/beacon/v1/batch?writeKey=KEY`.
Source: the packages @rudderstack/analytics-js 3.34.1 and rudder-sdk-js 2.52.21.
"""

from dataclasses import replace

from ingest.dialects import Dialect, Said, Told, segment
from ingest.request import Asked


def beacon(asked: Asked) -> Said:
    """A batch, with its key in the URL."""
    said = segment.batch(asked)
    return replace(said, api_key=asked.query().get("writeKey") or said.api_key)


def source_config(_: Asked) -> Told:
    """A source without destinations: they go on, and send their events only to us.

    They check that there are an id, a config and a list of destinations.
    """
    return Told(
        {
            "source": {
                "id": "merganser",
                "name": "merganser",
                "enabled": True,
                "config": {},
                "destinations": [],
            }
        }
    )


ROUTES: Dialect = {
    "POST /beacon/v1/batch": beacon,
    "GET /sourceConfig": source_config,
    # The newer client asks so whether an ad blocker is in the way, where it was told to find out.
    "HEAD /sourceConfig": source_config,
}
