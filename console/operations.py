"""The pages of operations: who reads the topic, replays, audits, processes and migrations."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from aiokafka.errors import KafkaError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.access import viewer_of
from console.background import Background
from console.forms import read_form
from console.monitor import Monitor, Partition
from console.pages import render
from merganser.admin.audit import AuditRunning, read_audits, run_audit
from merganser.admin.errors import AdminError
from merganser.admin.processes import read_processes
from merganser.admin.replay import (
    PartitionReplay,
    ReplayStart,
    parse_start,
    plan_replay,
    rewind_offsets,
)
from merganser.queries.pool import Pool
from merganser.runtime import kafka
from merganser.runtime.kafka import Member
from merganser.runtime.settings import ResolverSettings
from schemas import migrations

AUDITS = 20
"""Audits of the page."""

KAFKA_SECONDS = 5.0
"""How long Kafka may take to answer."""

MAX_DIGITS = 18

MAX_START_LENGTH = 40
"""Characters of an offset or a time."""


@dataclass(frozen=True, slots=True)
class MemberPosition:
    """A member of the consumer group, and how far it is."""

    member: Member
    number: int
    """On the page; the table of partitions refers to it."""
    partitions: list[int]
    """Of the topic of events."""
    lag: int | None
    """None if a partition's position is unknown."""


class Operations:
    """The routes.

    Args:
        pool: of connections to Postgres.
        settings: the database's URL, how to reach Kafka, the topic and the group.
        monitor: knows the positions.
        background: runs audits.
    """

    def __init__(
        self, pool: Pool, settings: ResolverSettings, monitor: Monitor, background: Background
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._monitor = monitor
        self._background = background

    async def show(self, request: Request) -> Response:
        """Show positions, members, the last audit, processes and migrations."""
        if not self._monitor.samples:
            await self._monitor.sample(None)
        sample = self._monitor.samples[-1]
        members = await self._read_members(sample.partitions or ())
        async with self._pool.reading() as connection:
            processes = await read_processes(connection)
            state = await migrations.read_state(connection)
            audits = await read_audits(connection, 1)
        return render(
            request,
            "operations.html",
            settings=self._settings,
            sample=sample,
            members=members,
            readers={number: m for m in members or () for number in m.partitions},
            replayed=_read_number(request.query_params.get("replayed", "")),
            audit=audits[0] if audits else None,
            now=datetime.now(UTC),
            processes=processes,
            versions=Counter(process.version for process in processes),
            migrations=state,
            pending=[name for name, applied_at in state.items() if applied_at is None],
        )

    async def show_replay(self, request: Request) -> Response:
        """Show what a replay would read again; it changes nothing."""
        text = request.query_params.get("from", "").strip()
        partition = request.query_params.get("partition", "").strip()
        plan: list[PartitionReplay] = []
        problem: str | None = None
        if text:
            try:
                start = _parse_start(text)
                plan = await self._plan(start, partition)
                text = start.isoformat() if isinstance(start, datetime) else str(start)
            except (ValueError, AdminError) as error:
                problem = str(error)
        return render(
            request,
            "replay.html",
            422 if problem else 200,
            settings=self._settings,
            problem=problem,
            start=text,
            partition=partition,
            plan=plan,
            records=sum(replay.records for replay in plan),
        )

    async def replay(self, request: Request) -> Response:
        """Move the group's offsets back, as the page before has shown."""
        form = await read_form(request)
        start, partition = form.get("from", ""), form.get("partition", "")
        try:
            plan = await self._plan(_parse_start(start), partition)
        except (ValueError, AdminError):
            query = urlencode({"from": start, "partition": partition})
            return RedirectResponse(f"/operations/replay?{query}", 303)  # which says why
        rewound = [replay for replay in plan if replay.records]
        await rewind_offsets(self._settings, viewer_of(request).actor, rewound)
        records = sum(replay.records for replay in rewound)
        return RedirectResponse(f"/operations?replayed={records}", 303)

    async def show_audits(self, request: Request) -> Response:
        """Show the newest audits, and what the last one found."""
        async with self._pool.reading() as connection:
            audits = await read_audits(connection, AUDITS)
        return render(
            request,
            "audits.html",
            audits=audits,
            running=next((audit for audit in audits if audit.is_running), None),
            last=next((audit for audit in audits if audit.finished_at), None),
            now=datetime.now(UTC),
        )

    async def audit(self, request: Request) -> Response:
        """Start an audit; it goes on in the background."""
        form = await read_form(request)
        work = run_audit(
            self._settings,
            viewer_of(request).actor,
            lambda _: None,
            properties="properties" in form,
        )
        with suppress(AuditRunning):  # the page shows the audit that runs
            await self._background.run("audit", work)
        return RedirectResponse("/operations/audits", 303)

    async def _plan(self, start: ReplayStart, partition: str) -> list[PartitionReplay]:
        number = _read_number(partition)
        if partition and number is None:
            raise ValueError(f"{partition!r} is not the number of a partition")
        partitions = [] if number is None else [number]
        async with asyncio.timeout(KAFKA_SECONDS):
            return await plan_replay(self._settings, start, partitions)

    async def _read_members(self, partitions: tuple[Partition, ...]) -> list[MemberPosition] | None:
        """Return the members of the group; None if Kafka does not say who they are."""
        lags = {partition.number: partition.lag for partition in partitions}
        try:
            async with asyncio.timeout(KAFKA_SECONDS):
                members = await kafka.read_members(self._settings, self._settings.consumer_group)
        except (KafkaError, TimeoutError):
            return None
        positions = []
        for number, member in enumerate(members, 1):
            own = sorted(p.partition for p in member.partitions if p.topic == self._settings.topic)
            lag = sum(lags[p] for p in own) if all(p in lags for p in own) else None
            positions.append(MemberPosition(member, number, own, lag))
        return positions


def _read_number(text: str) -> int | None:
    is_number = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
    return int(text) if is_number else None


def _parse_start(text: str) -> ReplayStart:
    if len(text) > MAX_START_LENGTH:
        raise ValueError("an offset or a time is shorter")
    return parse_start(text, datetime.now(UTC))
