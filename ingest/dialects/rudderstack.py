"""RudderStack's own paths. Its other paths and the mapping of events are Segment's (`segment.py`).

Its clients send `originalTimestamp`, and the traits of identify in `context.traits`; `segment.py`
reads both. Browser clients request `/sourceConfig` first and send nothing without it. Their beacons
cannot have headers, so the key is in the URL: `/beacon/v1/batch?writeKey=KEY`.
Source: the packages @rudderstack/analytics-js 3.34.1 and rudder-sdk-js 2.52.21.
"""

from dataclasses import replace

from ingest.dialects import Dialect, ParsedRequest, StaticResponse, segment
from ingest.request import Request


def beacon(request: Request) -> ParsedRequest:
    """Accept a batch whose key is in the URL."""
    parsed = segment.batch(request)
    return replace(parsed, api_key=request.query().get("writeKey") or parsed.api_key)


def source_config(_: Request) -> StaticResponse:
    """Return a source without destinations, so that clients send their events only to ingest.

    Clients check that there are an id, a config and a list of destinations.
    """
    return StaticResponse(
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
    # The newer client can be configured to detect an ad blocker by this request.
    "HEAD /sourceConfig": source_config,
}
