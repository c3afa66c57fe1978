"""Send track events to Merganser: batched, retried, each event stored once."""

from merganser_client.async_client import AsyncClient
from merganser_client.client import Client
from merganser_client.event import Event
from merganser_client.event_queue import Counts
from merganser_client.failure import Closed, Failure
from merganser_client.version import __version__

__all__ = ["AsyncClient", "Client", "Closed", "Counts", "Event", "Failure", "__version__"]
