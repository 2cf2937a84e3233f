"""The audit log as its owner reads it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.ingress.api.conftest import Person

FIRST = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
async def lines(api: Person, superuser: asyncpg.Connection) -> None:
    """Six lines, a minute apart, the last two at one moment, of two callers."""
    await superuser.execute(
        """
        INSERT INTO audit_log (customer_id, at, actor, action, target)
        SELECT $1, $2::timestamptz + least(n, 4) * interval '1 minute', CASE n % 2 WHEN 0 THEN 'user:7' ELSE 'key:7' END,
               CASE WHEN n < 3 THEN 'getClient' ELSE 'listClients' END, 'clientId=' || n
        FROM generate_series(0, 5) n ORDER BY n
        """,
        api.customer_id,
        FIRST,
    )


async def read(api: Person, **query: Any) -> list[str]:
    """Return the targets of the lines that are there beside the reading itself."""
    answer = await api.get("/audit", **query)
    assert 200 == answer.status
    return [line["target"].removeprefix("clientId=") for line in answer.body["lines"] if "clientId" in line["target"]]


async def test_the_newest_line_stands_first(api: Person, lines: None) -> None:
    """Lines come newest first, those of one moment by their number, and say who, what and when."""
    assert ["5", "4", "3", "2", "1", "0"] == await read(api)
    [line] = (await api.get("/audit", target="clientId=0")).body["lines"]
    assert ("user:7", "getClient", FIRST, None) == (
        line["actor"],
        line["action"],
        datetime.fromisoformat(line["at"]),
        line["requestId"],
    )


async def test_reading_the_log_is_written_down(api: Person, lines: None) -> None:
    """Who read it, from where, in which request."""
    answer = await api.get("/audit")
    newest = (await api.get("/audit", limit=1)).body["lines"][0]
    assert (f"user:{api.user_id}", "listAuditLog", "127.0.0.1", answer.headers["X-Request-Id"]) == tuple(
        newest[name] for name in ("actor", "action", "remote", "requestId")
    )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"actor": "user:7"}, "420"),
        ({"actor": "user:8"}, ""),
        ({"action": "getClient"}, "210"),
        ({"target": "clientId="}, "543210"),
        ({"target": "clientId=3"}, "3"),
        ({"target": "clientId%"}, ""),
        ({"since": FIRST + timedelta(minutes=4), "until": FIRST + timedelta(days=1)}, "54"),
        ({"until": FIRST + timedelta(minutes=2)}, "10"),
        ({"actor": "key:7", "action": "listClients", "until": FIRST + timedelta(minutes=4)}, "3"),
    ],
)
async def test_lines_are_chosen(api: Person, lines: None, query: dict[str, Any], found: str) -> None:
    """By actor, operation, how the target begins, and time, from `since` on and before `until`."""
    said = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in query.items()}
    assert list(found) == await read(api, **said)


async def test_pages_hold_each_line_once(api: Person, lines: None) -> None:
    """Also where two lines are of one moment, and while the log grows."""
    seen: list[str] = []
    cursor = None
    while cursor is not None or not seen:
        page = await api.get("/audit", limit=1, target="clientId=", cursor=cursor)
        seen += [line["target"][-1] for line in page.body["lines"]]
        cursor = page.body["nextCursor"]
    assert list("543210") == seen


async def test_another_firms_lines_are_not_there(api: Person, other: Person, lines: None) -> None:
    """Each owner reads of the own firm."""
    assert [] == await read(other)


@pytest.mark.parametrize("query", [{"since": "2026-03-02T12:00:00"}, {"cursor": "WyJ4IiwxXQ"}, {"limit": 0}])
async def test_what_does_not_fit_is_refused(api: Person, query: dict[str, Any]) -> None:
    """A time without zone, a cursor that none of ours is, a page of nothing."""
    answer = await api.get("/audit", **query)
    assert (422, next(iter(query))) == (answer.status, answer.body["field"])
