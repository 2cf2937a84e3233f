"""`bankfeed secrets`: keys are made, and everything is sealed anew while all goes on."""

import asyncio
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from bankfeed import keyring
from bankfeed.db import Database
from bankfeed.db.customer import insert_customer
from bankfeed.db.sealed import COLUMNS, lock_sealed
from bankfeed.endpoints import sealed_of
from bankfeed.keyring import Tally, reencrypt
from bankfeed.model import CustomerId
from bankfeed.sealing import KEY_BYTES, CannotOpen, Sealer, read_keys, write_key
from tests.conftest import Urls
from tests.finbank import ROOT
from tests.seed import SECRET_KEYS
from tests.story.test_cli import CLEAN, run

OLD, NEW = SECRET_KEYS, write_key("new", bytes(KEY_BYTES))
WAIT_S = 10
TEXTS = {
    "secret": "whsec_tell-nobody",
    "signing_key": "whsk_tell-nobody",
    "previous_secret": "whsec_tell-nobody-either",
    "previous_signing_key": "whsk_tell-nobody-either",
    "headers": '{"Authorization": "tell-nobody"}',
}


def make_sealer(*keys: str) -> Sealer:
    return Sealer(read_keys(",".join(keys)), random_bytes=os.urandom)


async def make_customer(database: Database) -> CustomerId:
    async with database.app() as conn:
        return await insert_customer(conn, name="Ann's books")


async def make_endpoint(
    superuser: asyncpg.Connection,
    customer_id: CustomerId,
    sealer: Sealer,
    *,
    overlap: timedelta | None = timedelta(hours=1),
    is_deleted: bool = False,
) -> int:
    """Make an endpoint whose every column is sealed; with `overlap` None nothing but one secret and pair signs."""
    sealed = {column: sealer.seal(text, of=sealed_of(customer_id)) for column, text in TEXTS.items()}
    has_previous = overlap is not None
    endpoint_id: int = await superuser.fetchval(
        """
        INSERT INTO endpoints (customer_id, url, event_types, secret, signing_key, public_key, headers, header_names,
                               previous_secret, previous_signing_key, previous_public_key, previous_secret_until, state,
                               deleted_at)
        VALUES ($1, 'https://books.example/', '{accountAdded}', $2, $3, 'whpk_now', $4, '{Authorization}', $5, $6, $7, $8,
                CASE WHEN $9 THEN 'disabled' ELSE 'active' END::endpoint_state, CASE WHEN $9 THEN now() END)
        RETURNING id
        """,
        customer_id,
        sealed["secret"],
        sealed["signing_key"],
        sealed["headers"],
        sealed["previous_secret"] if has_previous else None,
        sealed["previous_signing_key"] if has_previous else None,
        "whpk_before" if has_previous else None,
        datetime.now(UTC) + overlap if overlap is not None else None,
        is_deleted,
    )
    return endpoint_id


async def read_endpoint(superuser: asyncpg.Connection, endpoint_id: int) -> Mapping[str, str | None]:
    row = await superuser.fetchrow("SELECT * FROM endpoints WHERE id = $1", endpoint_id)
    return {column: row[column] for column in COLUMNS}


async def open_endpoint(
    superuser: asyncpg.Connection, customer_id: CustomerId, endpoint_id: int, sealer: Sealer
) -> dict[str, str | None]:
    """All of an endpoint's texts, opened. Raises CannotOpen."""
    texts = await read_endpoint(superuser, endpoint_id)
    return {
        column: None if sealed is None else sealer.open(sealed, of=sealed_of(customer_id))
        for column, sealed in texts.items()
    }


def run_reencrypt(urls: Urls, *keys: str) -> subprocess.CompletedProcess[str]:
    done = run("secrets", "reencrypt", environ={**urls.environ(), "BANKFEED_SECRET_KEYS": ",".join(keys)})
    assert "tell-nobody" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def show_nothing(number: int, customers: int, tally: Tally) -> None:
    """Nobody looks."""


# new-key


def test_a_new_key_is_one_line_that_the_setting_takes() -> None:
    """It needs nothing set or running; its name is the day's unless one is given; no two are alike."""
    day = f"k{datetime.now(UTC):%Y%m%d}"
    made = [run("secrets", "new-key", *words) for words in ((), (), ("--name", "k2"))]
    assert [(0, "")] * 3 == [(each.returncode, each.stderr) for each in made]
    keys = [read_keys(each.stdout) for each in made]
    assert [[day], [day], ["k2"]] == [list(each) for each in keys]
    assert 3 == len({*keys[0].values(), *keys[1].values(), *keys[2].values()})


@pytest.mark.parametrize("name", ["", "a:b", "K1", "a,b", "k" * 33])
def test_a_name_that_could_not_be_read_is_refused(name: str) -> None:
    """It ends with 2, says what a name is, and prints no key."""
    refused = run("secrets", "new-key", "--name", name)
    assert (2, "") == (refused.returncode, refused.stdout)
    assert f"expected a name of 1 to 32 of a-z, 0-9 and -, got {name!r}" in refused.stderr


# reencrypt


async def test_a_key_is_rotated_as_the_runbook_says(
    urls: Urls, database: Database, superuser: asyncpg.Connection
) -> None:
    """At each step every process opens what any other has sealed; at the end the old key opens nothing and is not needed."""
    customers = [await make_customer(database) for _ in range(2)]
    endpoints = [
        (customers[0], await make_endpoint(superuser, customers[0], make_sealer(OLD))),
        (customers[0], await make_endpoint(superuser, customers[0], make_sealer(OLD, NEW))),
        (customers[1], await make_endpoint(superuser, customers[1], make_sealer(NEW, OLD), overlap=None)),
    ]
    for customer_id, endpoint_id in endpoints:  # the second step: some pods have the new key first, some not yet
        for keys in ((OLD, NEW), (NEW, OLD)):
            await open_endpoint(superuser, customer_id, endpoint_id, make_sealer(*keys))
    done = run_reencrypt(urls, NEW, OLD)
    assert (0, "sealed 10 anew with the key new, 3 were already, 0 could not be opened\n", "") == (
        done.returncode,
        done.stdout,
        done.stderr,
    )
    for customer_id, endpoint_id in endpoints[:2]:
        assert await open_endpoint(superuser, customer_id, endpoint_id, make_sealer(NEW)) == TEXTS
        with pytest.raises(CannotOpen):
            await open_endpoint(superuser, customer_id, endpoint_id, make_sealer(OLD))
    again = run_reencrypt(urls, NEW)
    assert (0, "sealed 0 anew with the key new, 13 were already, 0 could not be opened\n") == (
        again.returncode,
        again.stdout,
    )


async def test_nothing_but_the_seal_changes(urls: Urls, database: Database, superuser: asyncpg.Connection) -> None:
    """Versions, keys' ends and all other columns stay, what is absent stays absent, and the audit log says how many."""
    customer_id = await make_customer(database)
    await make_endpoint(superuser, customer_id, make_sealer(OLD))
    await make_endpoint(superuser, customer_id, make_sealer(OLD), overlap=None)
    query = """
        SELECT to_jsonb(e) - $1::text[], num_nulls(previous_secret, previous_signing_key), headers <> ''
        FROM endpoints e ORDER BY id
    """
    before = await superuser.fetch(query, list(COLUMNS))
    assert 0 == run_reencrypt(urls, NEW, OLD).returncode
    assert before == await superuser.fetch(query, list(COLUMNS))
    assert [("system", "secrets.sealed_anew", "key=new endpoints=2")] == [
        tuple(row) for row in await superuser.fetch("SELECT actor, action, target FROM audit_log")
    ]
    run_reencrypt(urls, NEW, OLD)
    assert 1 == await superuser.fetchval("SELECT count(*) FROM audit_log")


async def test_what_no_key_opens_is_named_and_left(
    urls: Urls, database: Database, superuser: asyncpg.Connection
) -> None:
    """A lost key, and a text of another customer's: 1 at the end, the places named, the rest sealed anew all the same."""
    customer_id, other = await make_customer(database), await make_customer(database)
    whole = await make_endpoint(superuser, customer_id, make_sealer(OLD), overlap=None)
    lost = await make_endpoint(superuser, customer_id, make_sealer(write_key("tests", bytes([7]) * 32)), overlap=None)
    moved = await make_endpoint(superuser, other, make_sealer(OLD), overlap=None)
    await superuser.execute(
        "UPDATE endpoints SET secret = (SELECT secret FROM endpoints WHERE id = $2) WHERE id = $1", moved, whole
    )
    before = await read_endpoint(superuser, lost)
    done = run_reencrypt(urls, NEW, OLD)
    assert (1, "sealed 5 anew with the key new, 0 were already, 4 could not be opened\n") == (
        done.returncode,
        done.stdout,
    )
    assert [
        "no key of BANKFEED_SECRET_KEYS opens:",
        *(f"{column} of endpoint {lost} of customer {customer_id}" for column in ("secret", "signing_key", "headers")),
        f"secret of endpoint {moved} of customer {other}",
    ] == done.stderr.splitlines()
    assert before == await read_endpoint(superuser, lost)
    assert {**TEXTS, "previous_secret": None, "previous_signing_key": None} == (
        await open_endpoint(superuser, customer_id, whole, make_sealer(NEW))
    )


async def test_many_that_do_not_open_are_counted(urls: Urls, database: Database, superuser: asyncpg.Connection) -> None:
    """Twenty places are named, and how many more there are."""
    customer_id = await make_customer(database)
    for _ in range(5):
        await make_endpoint(superuser, customer_id, make_sealer(OLD))
    done = run_reencrypt(urls, NEW)
    assert (1, 22, "and 5 more") == (done.returncode, len(done.stderr.splitlines()), done.stderr.splitlines()[-1])


async def test_what_nobody_uses_is_left(urls: Urls, database: Database, superuser: asyncpg.Connection) -> None:
    """A deleted endpoint's texts, and those that sign no more, need no key: a lost one does not keep it from ending with 0."""
    customer_id = await make_customer(database)
    deleted = await make_endpoint(superuser, customer_id, make_sealer(OLD), is_deleted=True)
    expired = await make_endpoint(superuser, customer_id, make_sealer(OLD), overlap=timedelta(seconds=-1))
    before = [await read_endpoint(superuser, each) for each in (deleted, expired)]
    assert "sealed 3 anew" in run_reencrypt(urls, NEW, OLD).stdout
    after = [await read_endpoint(superuser, each) for each in (deleted, expired)]
    assert before[0] == after[0]
    assert ["previous_secret", "previous_signing_key"] == [
        column for column in COLUMNS if before[1][column] == after[1][column]
    ]
    assert 0 == run_reencrypt(urls, NEW).returncode


async def test_it_may_be_broken_off(
    database: Database, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was done before the break stays done; a repeat does the rest, whatever the size of a batch."""
    monkeypatch.setattr(keyring, "BATCH_ROWS", 2)
    sealer = make_sealer(NEW, OLD)
    customers = [await make_customer(database) for _ in range(3)]
    for customer_id in customers:
        for _ in range(5):
            await make_endpoint(superuser, customer_id, make_sealer(OLD), overlap=None)

    def break_off(number: int, customers: int, tally: Tally) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await reencrypt(database, sealer, break_off)
    count = "SELECT count(*) FROM endpoints WHERE secret LIKE 'sealed:new:%' AND headers LIKE 'sealed:new:%'"
    assert 10 == await superuser.fetchval(count)
    tally = await reencrypt(database, sealer, show_nothing)
    assert (15, 30, 0) == (tally.anew, tally.current, tally.unopened)
    assert 15 == await superuser.fetchval(count)


async def test_a_secret_that_is_replaced_meanwhile_stays(
    urls: Urls, database: Database, superuser: asyncpg.Connection
) -> None:
    """A rotation that commits while its endpoint's turn comes is waited for, and what it put there is what is sealed anew."""
    customer_id = await make_customer(database)
    endpoint_id = await make_endpoint(superuser, customer_id, make_sealer(OLD), overlap=None)
    conn = await asyncpg.connect(urls.superuser)
    rotation = conn.transaction()
    await rotation.start()
    replaced = make_sealer(OLD).seal("whsec_newer", of=sealed_of(customer_id))
    await conn.execute("UPDATE endpoints SET secret = $2, version = 2 WHERE id = $1", endpoint_id, replaced)
    running = asyncio.create_task(reencrypt(database, make_sealer(NEW, OLD), show_nothing))
    async with asyncio.timeout(WAIT_S):
        while not await superuser.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0)
    await rotation.commit()
    await conn.close()
    assert 3 == (await running).anew
    texts = await open_endpoint(superuser, customer_id, endpoint_id, make_sealer(NEW))
    assert "whsec_newer" == texts["secret"]


async def test_deliveries_wait_for_none_of_it(database: Database, superuser: asyncpg.Connection) -> None:
    """While a batch is sealed its endpoints can be read, and new deliveries may name them."""
    customer_id = await make_customer(database)
    endpoint_id = await make_endpoint(superuser, customer_id, make_sealer(OLD))
    async with database.tenant(customer_id) as conn:
        assert 1 == len(await lock_sealed(conn, customer_id, after_id=0, limit=10))
        assert endpoint_id == await superuser.fetchval(
            "SELECT id FROM endpoints WHERE id = $1 FOR KEY SHARE NOWAIT", endpoint_id
        )


async def test_a_terminal_sees_how_far_it_is(urls: Urls, database: Database, superuser: asyncpg.Connection) -> None:
    """One line that counts the customers; elsewhere there is none."""
    for _ in range(2):
        await make_endpoint(superuser, await make_customer(database), make_sealer(OLD), overlap=None)
    ours, theirs = pty.openpty()
    environ = {**CLEAN, **urls.environ(), "BANKFEED_SECRET_KEYS": f"{NEW},{OLD}"}
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs here
        [sys.executable, "-m", "bankfeed.cli", "secrets", "reencrypt"], cwd=ROOT, env=environ, stderr=theirs, check=True,
        capture_output=False, stdout=subprocess.PIPE, text=True, timeout=60,
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 1000).decode()
    os.close(ours)
    assert "\r1 of 2 customers, 3 sealed anew\r2 of 2 customers, 6 sealed anew\r\n" == shown
    assert done.stdout.startswith("sealed 6 anew")


# who needs keys


async def test_without_keys_nothing_is_sealed(urls: Urls) -> None:
    """It ends with 2 and names the setting; keys that cannot be read are not repeated."""
    bare = {**urls.environ(), "BANKFEED_SECRET_KEYS": ""}
    refused = run("secrets", "reencrypt", environ=bare)
    assert (2, "expected BANKFEED_SECRET_KEYS to be set\n") == (refused.returncode, refused.stderr)
    wrong = run("secrets", "reencrypt", environ={**bare, "BANKFEED_SECRET_KEYS": "k1:tell-nobody"})
    assert 2 == wrong.returncode
    assert wrong.stderr.endswith("got ***\n")
    assert "tell-nobody" not in wrong.stderr


@pytest.mark.parametrize("words", [("status",), ("inbox",), ("customers", "list"), ("inbox", "requeue", "--all")])
async def test_a_command_that_opens_no_secret_needs_no_key(urls: Urls, words: tuple[str, ...]) -> None:
    """Who only looks, or mends the inbox, is not asked for what signs webhooks."""
    done = run(*words, environ={**urls.environ(), "BANKFEED_SECRET_KEYS": ""})
    assert (0, "") == (done.returncode, done.stderr)


async def test_the_commands_of_the_texts_work(urls: Urls) -> None:
    """Every `bankfeed secrets ...` that operators are told to run ends well on a fresh database."""
    texts = "".join((ROOT / "deploy" / name).read_text() for name in ("README.md", "RUNBOOK.md"))
    found = set(re.findall(r"bankfeed(?:\.cli)? (secrets [^`\n]+)", texts.replace("\nbankfeed.cli", " bankfeed.cli")))
    assert {"secrets new-key", "secrets new-key --name k2", "secrets reencrypt"} <= {each.strip() for each in found}
    for command in sorted(found):
        done = run(*shlex.split(command), environ=urls.environ())
        assert (0, "") == (done.returncode, done.stderr), command
