"""The webhook door, as senders and attackers meet it."""

import asyncio
import gzip
from pathlib import Path

import asyncpg
import orjson
import pytest
from aiohttp import web

from bankfeed.local import LocalPostgres
from bankfeed.settings import Settings
from bankfeed.signing import sign_hex_hmac
from ingress.app import Ingress
from tests.ingress.conftest import LEDGERSYNC, Door
from tests.seed import PARTNER_SECRET

EXAMPLE = (Path(__file__).parents[2] / "deploy/examples/ledgersync-account-added.txt").read_bytes()
SIGNED = "/webhooks/finicity"


def event(event_id: str = "e1", **changes: object) -> bytes:
    return orjson.dumps(
        {
            "eventType": "transactionsRefreshed",
            "eventId": event_id,
            "timestamp": "2026-03-02T06:00:00Z",
            "payload": {"accounts": [1542, 1367]},
        }
        | changes
    )


def finicity(
    name: str = "added", body: bytes | None = None, *, key: str = PARTNER_SECRET
) -> tuple[bytes, dict[str, str]]:
    account = {"id": "5011648377", "institutionLoginId": 1007302745}
    payload = {"institutionId": "101732", "accounts": [account]}
    if body is None:
        body = orjson.dumps({"customerId": "90001", "eventType": name, "eventId": "1688-abc", "payload": payload})
    return body, {"X-Finicity-Signature": sign_hex_hmac(key, body)}


async def test_the_printed_example_is_accepted_byte_for_byte(door: Door, superuser: asyncpg.Connection) -> None:
    """The document's own example, with its trailing comma and blank, is stored, committed and answered OK."""
    assert (200, {"status": "OK"}) == (await door.post(LEDGERSYNC, EXAMPLE))[:2]
    row = await superuser.fetchrow("SELECT event_type::text, event_id, account_refs, state::text, body FROM inbox")
    assert (
        "accountAdded",
        "b52e0e1c-611f-43fb-89c4-401a34eb91ba",
        ["1542", "1367", "1257"],
        "waiting",
        EXAMPLE,
    ) == tuple(row)


async def test_a_repeat_is_ok_and_stored_once(door: Door, superuser: asyncpg.Connection) -> None:
    """The same event id again is answered 200 and kept once, whether it comes later or at the same moment."""
    answers = await asyncio.gather(*(door.post(LEDGERSYNC, event()) for _ in range(20)))
    answers.append(await door.post(LEDGERSYNC, event()))
    assert {200} == {status for status, _, _ in answers}
    assert 1 == await superuser.fetchval("SELECT count(*) FROM inbox")


async def test_the_same_id_with_another_body_is_another_event(door: Door, superuser: asyncpg.Connection) -> None:
    """A sender that reuses an id for different content loses nothing."""
    await door.post(LEDGERSYNC, event())
    await door.post(LEDGERSYNC, event(payload={"accounts": [7]}))
    assert 2 == await superuser.fetchval("SELECT count(*) FROM inbox")
    assert 'outcome="changed"' in (await door.get("/metrics"))[1]


async def test_an_unknown_event_type_is_kept_and_not_retried(door: Door, superuser: asyncpg.Connection) -> None:
    """What we do not know yet is answered 200, kept, and waits for nobody."""
    assert 200 == (await door.post(LEDGERSYNC, event(eventType="statementReady")))[0]
    row = await superuser.fetchrow("SELECT name, event_type, state::text FROM inbox")
    assert ("statementReady", None, "done") == tuple(row)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"not json", None),
        (b"", None),
        (event()[:-5], None),
        (
            orjson.dumps({"eventId": "e1", "timestamp": "2026-03-02T06:00:00Z", "payload": {"accounts": [1]}}),
            "eventType",
        ),
        (event(eventId=None), "eventId"),
        (event(payload={}), "payload.accounts"),
        (event(timestamp="yesterday"), "timestamp"),
    ],
)
async def test_a_bad_body_is_refused_by_name(
    door: Door, superuser: asyncpg.Connection, body: bytes, field: str | None
) -> None:
    """Not JSON, or a missing field: 400 that names it, and nothing is stored."""
    status, answer, _ = await door.post(LEDGERSYNC, body)
    assert (400, "ERROR", field) == (status, answer["status"], answer.get("field"))
    assert 0 == await superuser.fetchval("SELECT count(*) FROM inbox")


@pytest.mark.parametrize(
    "path", ["/webhooks/nobody", "/webhooks/ledgersync", "/webhooks/ledgersync/guess", f"{SIGNED}/x"]
)
async def test_an_unknown_address_is_404(door: Door, path: str) -> None:
    """An unknown source, and a known one without its unguessable part, look alike to a stranger."""
    status, answer, _ = await door.post(path, event())
    assert (404, "there is no such source") == (status, answer["message"])


@pytest.mark.parametrize(
    "headers", [{}, {"X-Finicity-Signature": ""}, {"X-Finicity-Signature": "0" * 64}, finicity(key="x" * 16)[1]]
)
async def test_a_missing_or_wrong_signature_is_401(
    door: Door, superuser: asyncpg.Connection, headers: dict[str, str]
) -> None:
    """A source that signs accepts nothing unsigned, and says no more than that."""
    status, answer, _ = await door.post(SIGNED, finicity()[0], headers)
    assert (401, "the signature is missing or wrong") == (status, answer["message"])
    assert 0 == await superuser.fetchval("SELECT count(*) FROM inbox")


@pytest.mark.parametrize(
    ("name", "event_type"),
    [
        ("added", "accountAdded"),
        ("credentialsUpdated", "mfaUpdated"),
        ("accountsDeleted", "bankAccountDeleted"),
        ("done", None),
    ],
)
async def test_finicity_events_end_in_the_same_kinds(
    door: Door, superuser: asyncpg.Connection, name: str, event_type: str | None
) -> None:
    """Signed Finicity events are accepted and become the four kinds."""
    body, headers = finicity(name)
    assert 200 == (await door.post(SIGNED, body, headers))[0]
    assert event_type == await superuser.fetchval("SELECT event_type::text FROM inbox")


async def test_a_ping_is_answered_and_not_stored(door: Door, superuser: asyncpg.Connection) -> None:
    """Finicity's ping only wants an answer."""
    body, headers = finicity(body=b'{"eventType":"ping","payload":{}}')
    assert 200 == (await door.post(SIGNED, body, headers))[0]
    assert 0 == await superuser.fetchval("SELECT count(*) FROM inbox")


async def test_a_large_body_is_413(door: Door) -> None:
    """Over 256 KiB is refused, with and without a Content-Length, and exactly 256 KiB is not too large."""
    assert 413 == (await door.post(LEDGERSYNC, b"x" * 262_145))[0]

    async def stream() -> object:
        for _ in range(300):
            yield b"x" * 1024

    assert 413 == (await door.post(LEDGERSYNC, stream()))[0]
    padded = event(padding="")
    exact = event(padding="x" * (262_144 - len(padded)))
    assert 200 == (await door.post(LEDGERSYNC, exact))[0]


async def test_an_encoded_body_is_refused_undecoded(door: Door) -> None:
    """Nothing is decompressed: a small body could open to any size."""
    assert 415 == (await door.post(LEDGERSYNC, gzip.compress(event()), {"Content-Encoding": "gzip"}))[0]


async def test_a_dripping_body_is_cut_off(door: Door) -> None:
    """A body that does not arrive in time ends the request."""

    async def drip() -> object:
        yield b"{"
        await asyncio.Event().wait()

    assert 408 == (await door.post(LEDGERSYNC, drip()))[0]


async def test_without_postgres_the_answer_is_503_with_retry_after(
    door: Door, superuser: asyncpg.Connection, postgres: LocalPostgres
) -> None:
    """Nothing is accepted that cannot be committed, the sender is told when to come back, and it recovers by itself."""
    await door.post(LEDGERSYNC, event())
    name = await superuser.fetchval("SELECT current_database()")
    server = await asyncpg.connect(postgres.url())
    await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'bankfeed_%'")
    status, _, headers = await door.post(LEDGERSYNC, event("e2"))
    assert (503, "5") == (status, headers["Retry-After"])
    assert 200 == (await door.get("/readyz"))[0]
    assert 200 == (await door.get("/healthz"))[0]
    await server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await server.close()
    while (await door.post(LEDGERSYNC, event("e2")))[0] == 503:
        pass
    assert {"e1", "e2"} == {row["event_id"] for row in await superuser.fetch("SELECT event_id FROM inbox")}


async def test_an_overload_is_503_and_not_unbounded(door: Door, superuser: asyncpg.Connection) -> None:
    """Past the bound of waiting events a sender is told to come back; every 200 is in the inbox."""
    assert door.ingress.webhooks._intake is not None
    door.ingress.webhooks._intake._most_waiting = 3
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE received IN EXCLUSIVE MODE")
        sending = [asyncio.create_task(door.post(LEDGERSYNC, event(f"e{n}"))) for n in range(40)]
        done, _ = await asyncio.wait(sending, return_when=asyncio.FIRST_COMPLETED)
        assert {503} == {task.result()[0] for task in done}
    statuses = [(await task)[0] for task in sending]
    assert {200, 503} == set(statuses)
    assert statuses.count(200) == await superuser.fetchval("SELECT count(*) FROM inbox")


async def test_ready_only_between_start_and_drain(settings: Settings, door: Door) -> None:
    """Before the schema is known, and while draining, ingress is alive but not ready."""
    starting = Ingress(settings)
    runner = web.AppRunner(starting.app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with door.session.get(f"{url}/readyz") as answer:
        assert (503, "starting\n") == (answer.status, await answer.text())
    async with door.session.post(f"{url}/webhooks/ledgersync/x", data=b"{}") as answer:
        assert 503 == answer.status
    await runner.cleanup()
    door.ingress.readiness.is_draining = True
    assert (503, "draining\n") == await door.get("/readyz")
    assert 200 == (await door.get("/healthz"))[0]
