"""One run: a stack, load, faults, rest, verdict."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from aiokafka.errors import KafkaError
from rich.console import Console

from tests.chaos import external
from tests.chaos.clients import Client
from tests.chaos.conductor import Conductor
from tests.chaos.faults import TABLE, Entry
from tests.chaos.ledger import Ledger
from tests.chaos.stage import Stage, opened
from tests.chaos.verdict import Verdict, judge
from tests.chaos.view import View
from tests.chaos.watch import Watch
from tests.support import database
from tests.support.unfinished_work import describe_unfinished_work
from tests.support.waiting import eventually

CLIENTS = 8
EXTERNAL = 0.1
"""Share of the events that other systems insert."""

INNOCENT = 60
"""Events that are sent right behind hostile ones: enough for some in each partition."""

REST_SECONDS = 180.0
"""For all to be settled after the last fault."""


@dataclass(frozen=True)
class Plan:
    """How a run goes. The seed decides the events and the faults, not their timing."""

    seed: int
    seconds: float = 120.0
    rate: float = 300.0
    """Events a second, at most: clients slow down when they are refused."""
    faults: Sequence[Entry] = field(default_factory=lambda: TABLE)


async def run(plan: Plan, place: Path, console: Console) -> Verdict:
    """Run once below `place`, where data and logs stay."""
    view = View(console, plan.seed)
    verdict = Verdict(plan.seed)
    chance, ledger = Random(plan.seed), Ledger(plan.seed)
    async with opened(place, Random(chance.random())) as stage, asyncio.TaskGroup() as onlookers:
        watch = Watch(stage)
        looking = [
            onlookers.create_task(watch.run()),
            onlookers.create_task(view.show(watch, ledger)),
        ]
        conductor = Conductor(stage, watch, ledger, view, Random(chance.random()))
        await _under_load(plan, stage, ledger, conductor, view, chance)
        view.say("waiting until all is resolved")
        start = time.monotonic()
        await _rest(verdict, stage)
        # Recovery that the end of the run cut off: some partition may be behind while others go on.
        verdict.slowest_recovery = (
            time.monotonic() - start,
            "the last fault, until all is resolved",
        )
        view.say("comparing every row")
        await judge(verdict, stage, ledger)
        _note(verdict, stage, watch, ledger, conductor)
        for task in looking:
            task.cancel()
    verdict.seconds = time.monotonic() - view.started
    return verdict


async def _under_load(
    plan: Plan, stage: Stage, ledger: Ledger, conductor: Conductor, view: View, chance: Random
) -> None:
    """Returns when all is fixed and each client has its last answer."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as load:
        sending = [
            load.create_task(client.run(plan.rate * (1 - EXTERNAL) / CLIENTS, stop))
            for client in await _clients(stage, ledger, chance)
        ]
        url = stage.postgres.url
        sending.append(load.create_task(external.run(url, ledger, plan.rate * EXTERNAL, stop)))
        view.say(f"under load, breaking things for {plan.seconds:g} s")
        await conductor.run(plan.seconds, plan.faults)
        stop.set()
        view.say("all is fixed; clients get their last answers")
        _, unanswered = await asyncio.wait(sending, timeout=REST_SECONDS)
        for task in unanswered:
            task.cancel()
        if unanswered:
            conductor.failures.append(f"{len(unanswered)} clients never got their last answers")


async def _clients(stage: Stage, ledger: Ledger, chance: Random) -> list[Client]:
    key = await stage.system.key("chaos")
    prober = Client(stage.front_doors, key, ledger, Random(chance.random()))
    stage.send_innocent = lambda: prober.deliver(INNOCENT)
    return [Client(stage.front_doors, key, ledger, Random(chance.random())) for _ in range(CLIENTS)]


DUE = """SELECT count(*) FROM "profileDecorations" WHERE "dueAt" <= now()"""
SET_ASIDE_ROWS = """SELECT count(*) FROM "setAside" WHERE kind = 'row' AND state = 'open'"""


async def _rest(verdict: Verdict, stage: Stage) -> None:
    async with database.opened(stage.postgres.url) as opened_database:

        async def left() -> str:
            try:
                ends = await stage.topics.events.ends()
            except KafkaError as error:
                return f"an answer of Kafka's: {error!r}"
            # Whether only hostile ones are set aside is for the judge to say.
            aside = await opened_database.value(SET_ASIDE_ROWS)
            if due := await opened_database.value(DUE):
                return f"{due:,} profiles to decorate"
            return await describe_unfinished_work(opened_database, ends, aside)

        try:
            await eventually(left, lambda it: not it, within=REST_SECONDS, what="all is resolved")
        except AssertionError as stuck:
            verdict.failures.append(str(stuck))


def _note(
    verdict: Verdict, stage: Stage, watch: Watch, ledger: Ledger, conductor: Conductor
) -> None:
    verdict.measured = stage.measured
    verdict.delayed = verdict.blame("delayed by hostile events", stage.delayed)
    verdict.failures += conductor.failures
    verdict.blame("a death", watch.deaths)
    verdict.faults = dict(conductor.survived)
    verdict.slowest_recovery = max(conductor.slowest_recovery, verdict.slowest_recovery)
    verdict.peak_mib = {kind: peak >> 20 for kind, peak in watch.peaks.items()}
    verdict.repeats, verdict.refused, verdict.rows = ledger.repeats, ledger.refused, ledger.rows
