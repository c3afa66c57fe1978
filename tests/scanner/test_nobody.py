"""The scanner counts rows whose ids mean nobody, and resolves the rows behind them."""

from tests.support.system import System
from tests.support.waiting import equals, eventually

BAD = """
    INSERT INTO events (type, "userId", "anonymousId", "createdAt")
    SELECT 'bad', (ARRAY[NULL, '', ' ', '0', 'null', 'Undefined', E'\\tNONE\\n'])[n % 7 + 1],
        (ARRAY[
            NULL, 'guest', '00000000-0000-0000-0000-000000000000', '[object Object]'
        ])[n % 4 + 1],
        '2020-01-01'::timestamptz + n * interval '1 second'
    FROM generate_series(1, 100) n
"""


async def test_older_rows_of_nobody_do_not_delay_others(system: System) -> None:
    await system.database.execute(BAD)
    await system.database.execute("""INSERT INTO events (type, "userId") VALUES ('good', '1')""")
    scanner = await system.scanner(scanner_batch=10)
    await eventually(system.database.unresolved, equals(100))
    assert await system.database.column(
        'SELECT DISTINCT type FROM events WHERE "profileGuid" IS NULL'
    ) == ["bad"]
    assert await system.database.count("profiles") == 1

    await eventually(lambda: scanner.metric("merganser_scanner_unresolvable_rows"), equals(100))
    assert await scanner.metric("merganser_scanner_unresolved_rows") == 0
    assert await scanner.metric("merganser_scanner_unresolved_oldest_seconds") == 0
    assert await scanner.why_not_ready() == {}


async def test_sql_and_python_agree_on_odd_blanks_and_cases(system: System) -> None:
    """Otherwise the scanner would read a row again and again, or an audit would report it."""
    for odd in ("\u00a0", "\u2003null", "guest\u3000", "\tNULL ", "GUEST\n", "\u212a", "N\u0130L"):
        await system.database.execute(
            """INSERT INTO events (type, "userId", "anonymousId") VALUES ('t', %s, %s)""", odd, odd
        )
    scanner = await system.scanner()
    unresolvable = "merganser_scanner_unresolvable_rows"
    await eventually(lambda: scanner.metric(unresolvable), equals(5))
    assert await system.database.unresolved() == 5
    assert await scanner.metric("merganser_scanner_unresolved_rows") == 0
    assert "all agree" in await system.cli("audit")


async def test_rows_of_nobody_do_not_change(system: System) -> None:
    await system.database.execute(BAD)
    before = await system.database.rows("SELECT * FROM events ORDER BY guid")
    scanner = await system.scanner()
    await eventually(lambda: scanner.metric("merganser_scanner_unresolvable_rows"), equals(100))
    assert await system.database.rows("SELECT * FROM events ORDER BY guid") == before


async def test_an_id_that_means_nobody_is_ignored_beside_another_id(system: System) -> None:
    await system.database.execute("""
        INSERT INTO events (type, "userId", "anonymousId") VALUES
            ('a', 'undefined', 'person_1'), ('b', '123', 'guest'), ('c', '456', 'guest')
    """)
    await system.scanner()
    await eventually(system.database.unresolved, equals(0))
    assert await system.database.grouping() == {frozenset(kind) for kind in "abc"}
    assert await system.database.column('SELECT "anonymousId" FROM "anonymousIds"') == ["person_1"]


async def test_more_ids_of_nobody_are_a_setting(system: System) -> None:
    await system.database.execute("""
        INSERT INTO events (type, "userId") VALUES ('a', 'Visitor'), ('b', 'guest'), ('c', 'ann')
    """)
    await system.scanner(nobody_ids="visitor, stranger")
    await eventually(system.database.unresolved, equals(2))
    assert await system.database.grouping() == {frozenset("c")}


async def test_invisible_characters_do_not_make_an_id(system: System) -> None:
    await system.database.execute(r"""
        INSERT INTO events (type, "userId") VALUES
            ('a', U&'\00A0'), ('b', U&'\FEFFGuest\200B'), ('c', U&'\2003'), ('d', U&'\200Bann')
    """)
    scanner = await system.scanner()
    await eventually(lambda: scanner.metric("merganser_scanner_unresolvable_rows"), equals(3))
    assert await system.database.grouping() == {frozenset("d")}
    assert await system.database.column('SELECT "userId" FROM profiles') == ["\u200bann"]


async def test_a_row_that_another_system_corrects_is_resolved(system: System) -> None:
    await system.database.execute("""INSERT INTO events (type) VALUES ('t')""")
    scanner = await system.scanner()
    await eventually(lambda: scanner.metric("merganser_scanner_unresolvable_rows"), equals(1))
    await system.database.execute("""UPDATE events SET "userId" = '1'""")
    await eventually(system.database.unresolved, equals(0))
    await eventually(lambda: scanner.metric("merganser_scanner_unresolvable_rows"), equals(0))
