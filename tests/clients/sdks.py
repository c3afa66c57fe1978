"""The real clients, each with the story that its driver in `drivers/` tells.

A visitor looks at a page, says who it is, buys something and takes 25 steps: 28 events of one
profile. What the events are called, and where their data lies, is each client's own.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
DRIVERS = HERE / "drivers"
PYTHON = HERE / ".venv" / "bin" / "python"
"""With the packages of requirements.lock (`make test-clients` installs it)."""

CHROMIUM = shutil.which("chromium")

STEPS = 25


class Names(NamedTuple):
    """What a client calls the story's first events."""

    page: str = "page"
    identify: str = "identify"
    plan: str = "traits.plan"
    """Data key of the trait that identify sets."""


SEGMENT = Names()


@dataclass(frozen=True)
class Sdk:
    """A client and how it tells the story."""

    name: str
    driver: str
    names: Names = SEGMENT
    names_visitors: bool = True
    """Whether it can be told what the visitor's anonymousId is, or only makes one itself."""
    knows_late: bool = False
    """Whether it fills in who the visitor is when it sends: what it sends again has the userId."""
    gives_up: bool = False
    """Whether it never sends an event again: what meets an outage is lost by the client."""

    def command(self, *arguments: str) -> Sequence[str]:
        """How to run the driver: with URL, key, userId and anonymousId."""
        match self.driver.rpartition(".")[2]:
            case "py":
                return [str(PYTHON), str(DRIVERS / self.driver), *arguments]
            case "mjs":
                return ["node", str(DRIVERS / self.driver), *arguments]
            case _:
                name = self.driver.removesuffix(".js")
                return ["node", str(DRIVERS / "browser.mjs"), str(CHROMIUM), name, *arguments]

    @property
    def missing(self) -> str | None:
        """Why it cannot be run here."""
        if self.driver.endswith(".py"):
            return None if PYTHON.exists() else f"no {PYTHON.name}: run make test-clients"
        if not (HERE / "node_modules").exists():
            return "no node_modules: run make test-clients"
        if self.driver.endswith(".js") and CHROMIUM is None:
            return "no Chromium: apt-get install chromium"
        return None


_POSTHOG = Names("$pageview", "$identify", "$set.plan")
_SNOWPLOW = Names("page_view", "identify", "plan")

SDKS = [
    Sdk(
        "merganser, our own",
        "merganser_browser.js",
        Names(page="pageview", plan="plan"),
        names_visitors=False,
    ),
    Sdk("@grouparoo/client-web", "grouparoo_browser.js", Names(plan="plan")),
    Sdk("segment-analytics-python", "segment_python.py"),
    Sdk("@segment/analytics-node", "segment_node.mjs"),
    Sdk("@segment/analytics-next", "segment_browser.js", knows_late=True),
    Sdk("rudder-sdk-python", "rudder_python.py"),
    Sdk("@rudderstack/rudder-sdk-node", "rudder_node.mjs"),
    Sdk("@rudderstack/analytics-js", "rudder_browser.js"),
    Sdk("rudder-sdk-js", "rudder_old_browser.js"),
    Sdk("posthog (Python)", "posthog_python.py", _POSTHOG),
    Sdk("posthog-node", "posthog_node.mjs", _POSTHOG),
    Sdk("posthog-js", "posthog_browser.js", _POSTHOG),
    Sdk("@jitsu/js", "jitsu_browser.js", gives_up=True),
    Sdk(
        "@jitsu/sdk-js",
        "jitsu_sdk_browser.js",
        Names(identify="user_identify", plan="user.plan"),
        names_visitors=False,
    ),
    Sdk("snowplow-tracker (Python)", "snowplow_python.py", _SNOWPLOW),
    Sdk("@snowplow/node-tracker", "snowplow_node.mjs", _SNOWPLOW),
    Sdk("@snowplow/browser-tracker", "snowplow_browser.js", _SNOWPLOW, names_visitors=False),
]
