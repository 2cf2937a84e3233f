"""`bankfeed endpoints`: how subscribers take what is sent is seen, and one is disabled and enabled."""

from typing import Any

import asyncpg
import msgspec
import pytest

from bankfeed import endpoints_command
from bankfeed.db import Database
from bankfeed.model import EventType
from tests.conftest import Urls
from tests.story.outgoing import SECRET_PATH, Firm, make_firm
from tests.story.test_cli import run


@pytest.fixture
async def firm(database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection) -> Firm:
    """A customer with one endpoint."""
    return await make_firm(database, owner, superuser)


async def test_endpoints_are_listed_with_what_waits(urls: Urls, firm: Firm) -> None:
    """Customer, host, state, failures in a row, how much waits and for how long; never the path."""
    await firm.emit(*[EventType.MFA_UPDATED] * 3)
    await firm.superuser.execute("UPDATE delivery_queue SET due_at = now() - interval '2 hours' WHERE delivery_id = 1")
    await firm.superuser.execute(
        "UPDATE endpoint_health SET failures = 12, failing_since = now(), blocked_until = now() + interval '1 hour'"
    )
    shown = run("endpoints", environ=urls.environ())
    heads, line = shown.stdout.splitlines()
    assert ["ID", "CUSTOMER", "HOST", "STATE", "FAILURES", "WAITING", "OLDEST", "DUE", "REASON"] == heads.split()
    customer_id = firm.tenant.customer_id
    assert f"{firm.endpoint_id} {customer_id} books.firm.example:8443 throttled 12 3 2 h 0 m" == " ".join(line.split())
    listed: dict[str, Any] = msgspec.json.decode(run("endpoints", "--json", environ=urls.environ()).stdout)
    [found] = listed["endpoints"]
    assert (customer_id, firm.endpoint_id, "throttled", 3, False) == (
        *(found[name] for name in ("customer_id", "id", "state", "waiting")),
        listed["is_cut"],
    )
    assert SECRET_PATH not in shown.stdout + str(listed)


async def test_endpoints_of_one_customer_are_listed(
    urls: Urls, firm: Firm, database: Database, owner: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """Those of others are not; a customer that there is not is said, and a deleted endpoint is none."""
    other = await make_firm(database, owner, superuser)
    ids = [
        [
            each["id"]
            for each in msgspec.json.decode(run("endpoints", "--json", *words, environ=urls.environ()).stdout)[
                "endpoints"
            ]
        ]
        for words in ((), ("--customer", str(other.tenant.customer_id)))
    ]
    assert [[firm.endpoint_id, other.endpoint_id], [other.endpoint_id]] == ids
    unknown = run("endpoints", "--customer", "999", environ=urls.environ())
    assert (1, "bankfeed: there is no customer 999\n") == (unknown.returncode, unknown.stderr)
    await superuser.execute("UPDATE endpoints SET state = 'disabled', deleted_at = now()")
    assert "there are no endpoints\n" == run("endpoints", environ=urls.environ()).stdout


async def test_an_endpoint_is_disabled_and_enabled(urls: Urls, firm: Firm) -> None:
    """With a reason that is shown, a line in the audit log each, and no harm in saying it twice."""
    endpoint = str(firm.endpoint_id)
    words = ("endpoints", "disable", endpoint, "--reason", "asked\nfor\x1b[2J")
    assert f"endpoint {endpoint} is disabled\n" == run(*words, environ=urls.environ()).stdout
    assert f"endpoint {endpoint} is disabled already, and left as it is\n" == run(*words, environ=urls.environ()).stdout
    assert "asked for?[2J" in run("endpoints", environ=urls.environ()).stdout
    assert f"endpoint {endpoint} is active\n" == run("endpoints", "enable", endpoint, environ=urls.environ()).stdout
    assert (
        f"endpoint {endpoint} is active already\n"
        == run("endpoints", "enable", endpoint, environ=urls.environ()).stdout
    )
    assert [
        ("endpoint.disabled", f"endpointId={endpoint}"),
        ("endpoint.enabled", f"endpointId={endpoint} discarded=0"),
    ] == await firm.audited()


async def test_what_waited_may_be_discarded(urls: Urls, firm: Firm, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails unsent before the endpoint is active again; what is being attempted ends by itself."""
    monkeypatch.setattr(endpoints_command, "ENDED_AT_ONCE", 1)
    await firm.emit(*[EventType.MFA_UPDATED] * 3)
    endpoint = str(firm.endpoint_id)
    run("endpoints", "disable", endpoint, "--reason", "x", environ=urls.environ())
    await firm.superuser.execute(
        "UPDATE delivery_queue SET lease_token = gen_random_uuid(), lease_until = now() + interval '1 hour'"
        " WHERE delivery_id = 1"
    )
    is_done = await endpoints_command.enable(
        firm.database, endpoint_id=firm.endpoint_id, customer_id=None, discards=True
    )
    assert (True, 2) == is_done
    assert ["waiting", "failed", "failed"] == [
        row["state"] for row in await firm.superuser.fetch("SELECT state::text FROM deliveries ORDER BY id")
    ]
    await firm.superuser.execute("UPDATE endpoints SET state = 'disabled'")
    await firm.superuser.execute("UPDATE delivery_queue SET lease_token = NULL, lease_until = NULL")
    done = run("endpoints", "enable", endpoint, "--discard", environ=urls.environ())
    assert f"endpoint {endpoint} is active, 1 that waited has failed unsent\n" == done.stdout


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("disable", "999", "--reason", "x"), 1, "bankfeed: there is no webhook endpoint 999\n"),
        (("enable", "1", "--customer", "2"), 1, "bankfeed: there is no customer 2\n"),
        (("disable", "1"), 2, "Missing option '--reason'"),
        (("disable", "1", "--reason", " "), 2, "expected --reason to be a text of 1 to 200 characters, got 0"),
        (("disable", "x", "--reason", "x"), 2, "expected an integer from 1 to"),
    ],
)
async def test_what_cannot_be_done_is_said(
    urls: Urls, firm: Firm, words: tuple[str, ...], status: int, said: str
) -> None:
    """In a sentence, with 2 for words that cannot be meant."""
    refused = run("endpoints", *words, environ=urls.environ())
    assert status == refused.returncode
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert [] == await firm.audited()
