"""The real clients; the driver of each, in `drivers/`, sends the same events.

A visitor views a page, is identified, buys something and takes 25 steps: 28 events of one profile.
Clients differ in the types of these events and in the keys of their data.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
DRIVERS = HERE / "drivers"
PYTHON = HERE / ".venv" / "bin" / "python"
"""It has the packages of requirements.lock, which `make test-clients` installs."""

CHROMIUM = shutil.which("chromium")

STEPS = 25


class Names(NamedTuple):
    """The types that a client gives to the first events."""

    page: str = "page"
    identify: str = "identify"
    plan: str = "traits.plan"
    """The data key of the trait `plan`."""


SEGMENT = Names()


@dataclass(frozen=True)
class Sdk:
    """A client, its driver, and how it differs from others."""

    name: str
    driver: str
    names: Names = SEGMENT
    accepts_anonymous_id: bool = True
    """Whether the driver can set the anonymousId; other clients generate it."""
    adds_user_id_on_send: bool = False
    """Whether it adds the userId when it sends, so that repeated events have it too."""
    never_retries: bool = False
    """Whether it sends each event only once, so that it loses events during an outage."""

    def command(self, *arguments: str) -> Sequence[str]:
        """Return the command line of the driver; it takes URL, key, userId and anonymousId."""
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
        """What is missing to run it, or None."""
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
        accepts_anonymous_id=False,
    ),
    Sdk("@grouparoo/client-web", "grouparoo_browser.js", Names(plan="plan")),
    Sdk("segment-analytics-python", "segment_python.py"),
    Sdk("@segment/analytics-node", "segment_node.mjs"),
    Sdk("@segment/analytics-next", "segment_browser.js", adds_user_id_on_send=True),
    Sdk("rudder-sdk-python", "rudder_python.py"),
    Sdk("@rudderstack/rudder-sdk-node", "rudder_node.mjs"),
    Sdk("@rudderstack/analytics-js", "rudder_browser.js"),
    Sdk("rudder-sdk-js", "rudder_old_browser.js"),
    Sdk("posthog (Python)", "posthog_python.py", _POSTHOG),
    Sdk("posthog-node", "posthog_node.mjs", _POSTHOG),
    Sdk("posthog-js", "posthog_browser.js", _POSTHOG),
    Sdk("@jitsu/js", "jitsu_browser.js", never_retries=True),
    Sdk(
        "@jitsu/sdk-js",
        "jitsu_sdk_browser.js",
        Names(identify="user_identify", plan="user.plan"),
        accepts_anonymous_id=False,
    ),
    Sdk("snowplow-tracker (Python)", "snowplow_python.py", _SNOWPLOW),
    Sdk("@snowplow/node-tracker", "snowplow_node.mjs", _SNOWPLOW),
    Sdk("@snowplow/browser-tracker", "snowplow_browser.js", _SNOWPLOW, accepts_anonymous_id=False),
]
