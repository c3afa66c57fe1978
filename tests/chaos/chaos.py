"""One run under load: a deployment, clients, faults, and the checks at the end."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

from rich.console import Console

from tests.chaos import checks, comparison
from tests.chaos.deployment import Deployment, running_deployment
from tests.chaos.display import Display, watching
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.history import generate_event
from tests.chaos.injector import Injector
from tests.chaos.ledger import Ledger
from tests.chaos.load import Load
from tests.chaos.operator import correct
from tests.chaos.verdict import Verdict

CLIENTS = 8
ROWS = 0.1
"""Share of the events that another system inserts as rows."""

REGULAR_EVENTS = 60
"""Events that are sent right behind hostile ones: enough for some in each partition."""

CORRECTION_PAUSE = 5.0
"""Seconds between two corrections of the operator, at most."""

WAIT_SECONDS = 180.0
"""After the last fault, until no work is left."""


@dataclass(frozen=True)
class Plan:
    """How a run goes. The seed decides the events and the faults, not their timing."""

    seed: int
    seconds: float = 120.0
    rate: float = 300.0
    """Events a second, at most: clients slow down when they are refused."""
    faults: Sequence[Fault] = field(default_factory=lambda: FAULTS)


async def run(plan: Plan, place: Path, console: Console) -> Verdict:
    """Run once and return the verdict; data and logs stay below `place`."""
    display = Display(console, f"chaos, seed {plan.seed}")
    verdict = Verdict(plan.seed)
    random = Random(plan.seed)
    ledger = Ledger(partial(generate_event, plan.seed))
    async with (
        running_deployment(place, Random(random.random())) as deployment,
        watching(deployment, ledger, display) as monitor,
    ):
        ledger.corrections = deployment.corrections
        injector = Injector(
            deployment,
            display,
            Random(random.random()),
            lambda: (ledger.outcomes["200"], monitor.read, monitor.resolved),
        )
        await _inject_under_load(plan, deployment, ledger, injector, display, random)
        display.start_phase("waiting until no work is left")
        start = time.monotonic()
        try:
            await comparison.wait_until_processed(deployment.system, WAIT_SECONDS)
        except AssertionError as stuck:
            verdict.failures.append(str(stuck))
        # A recovery that the end of the run cut off: one partition may lag while others do not.
        last = time.monotonic() - start, "the last fault, until no work is left"
        verdict.slowest_recovery = last
        display.start_phase("comparing every row")
        await checks.check(verdict, deployment, ledger, monitor, injector)
    verdict.seconds = time.monotonic() - display.started
    return verdict


async def _inject_under_load(
    plan: Plan,
    deployment: Deployment,
    ledger: Ledger,
    injector: Injector,
    display: Display,
    random: Random,
) -> None:
    """Return when all faults are fixed and each client has its last answer."""
    load = Load(
        deployment.gateway_urls,
        await deployment.system.key("chaos"),
        ledger,
        clients=CLIENTS,
        rate=plan.rate * (1 - ROWS) / CLIENTS,
        largest_batch=59,
        timeout=5,
        longest_pause=2,
        hang_up=0.04,
        twice=0.05,
        without_message_id=0.2,
        publishable_key=(
            await deployment.system.cli(
                "keys", "create", "page", "--publishable", "--rate", "10000"
            )
        ).strip(),
        rows_url=deployment.system.database.url,
        rows_rate=plan.rate * ROWS,
        random=random,
        finish_within=WAIT_SECONDS,
    )
    deployment.send_regular_events = lambda: load.deliver(REGULAR_EVENTS)
    try:
        async with load:
            display.start_phase(
                f"under load, injecting faults and correcting for {plan.seconds:g} s"
            )
            ended = asyncio.Event()
            operator = asyncio.create_task(correct(deployment, CORRECTION_PAUSE, ended.is_set))
            await injector.run(plan.seconds, plan.faults)
            ended.set()
            (failure,) = await asyncio.gather(operator, return_exceptions=True)
            if failure:
                injector.failures.append(f"operator: {failure!r}")
            display.start_phase("all faults are fixed; clients get their last answers")
    except AssertionError as unanswered:
        injector.failures.append(f"clients: {unanswered!r}")
