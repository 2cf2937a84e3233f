"""When a connection is told of: once as it breaks, once as it works again, whatever it was in between."""

import asyncpg
import pytest

from bankfeed.db.connection import close_connection_without_accounts, update_health, upsert_connection
from tests.db.made import OVER_S, Ground

BROKE, REPAIRED = True, False


async def turn(ground: Ground, states: str) -> list[bool | None]:
    """Bring the connection into one state after the other; return what each was told as."""
    lease = await ground.lease()
    turns = []
    for state in states.split():
        async with ground.app() as conn:
            found = await update_health(conn, lease, state=state, status_code=1, as_of=None)
        assert found is None or ground.tenant.client_id == found.client_id
        turns.append(None if found is None else found.is_broken)
    return turns


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ("active active", [None, None]),
        ("needs_person active", [BROKE, REPAIRED]),
        ("unsupported active", [BROKE, REPAIRED]),
        ("needs_person unsupported needs_person active", [BROKE, None, None, REPAIRED]),
        ("waiting active waiting active", [None] * 4),
        ("waiting needs_person", [None, BROKE]),
        ("needs_person waiting needs_person waiting active", [BROKE, None, None, None, REPAIRED]),
        ("needs_person active needs_person", [BROKE, REPAIRED, BROKE]),
    ],
)
async def test_each_turn_is_told_once(ground: Ground, states: str, expected: list[bool | None]) -> None:
    """What is waited out neither breaks nor repairs anything."""
    assert expected == await turn(ground, states)


async def test_a_lost_lease_turns_nothing(ground: Ground, superuser: asyncpg.Connection) -> None:
    """Who does not hold the connection says nothing of it."""
    lost = await ground.lease(OVER_S)
    await ground.lease()
    async with ground.app() as conn:
        assert await update_health(conn, lost, state="needs_person", status_code=103, as_of=None) is None
    assert ("active", None) == tuple(await superuser.fetchrow("SELECT state::text, broken_since FROM connections"))


async def test_a_connection_that_was_closed_starts_anew(ground: Ground, superuser: asyncpg.Connection) -> None:
    """It was broken when its last account went; linked again and broken again, it is told again."""
    assert [BROKE] == await turn(ground, "needs_person")
    await superuser.execute(
        "UPDATE connections SET due_at = now(), lease_token = NULL, lease_until = NULL, requested = 2, handled = 1"
    )
    lease = await ground.claim()
    assert lease is not None
    async with ground.app() as conn:
        assert await close_connection_without_accounts(conn, lease)
    async with ground.app() as conn:
        await upsert_connection(
            conn,
            ground.tenant.customer_id,
            ground.tenant.client_id,
            source_id=ground.sources.finicity,
            login_ref="login-1",
        )
    await superuser.execute("UPDATE connections SET due_at = now(), lease_token = NULL, lease_until = NULL")
    assert [BROKE] == await turn(ground, "needs_person")
