"""Bank refreshes with a real Finbank: a click asks the bank, what it says is fetched, and nothing else ever asks it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from bankfeed.aggregators import Aggregator, ListedAccount
from bankfeed.db import bank_refresh, connection
from bankfeed.db.bank_refresh import BankRefresh
from bankfeed.errors import AggregatorError, BadAggregatorAnswer, StillAsking
from bankfeed.model import ConnectionId, EventType
from tests.finbank import Link
from tests.worker.conftest import Bench
from worker.bank_refresh import MOST_TRIES, take_bank_refresh


@dataclass
class Asked:
    """The bank's connector, which notes when the bank is asked, and first fails as it is told."""

    connector: Aggregator
    failures: list[Exception] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connector, name)

    async def ask_bank_refresh(self, customer_ref: str, login_ref: str) -> tuple[ListedAccount, ...]:
        self.calls.append(login_ref)
        if self.failures:
            raise self.failures.pop(0)
        return await self.connector.ask_bank_refresh(customer_ref, login_ref)

    async def ask_bank_history(self, customer_ref: str, account_ref: str) -> None:
        self.calls.append(account_ref)
        if self.failures:
            raise self.failures.pop(0)
        await self.connector.ask_bank_history(customer_ref, account_ref)


@pytest.fixture
async def link(bench: Bench) -> AsyncIterator[Link]:
    """A checking account, linked and pulled."""
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    await bench.work()
    yield link
    await bench.finbank.control("POST", "faults", failTimes=0, slow_ms=0)


@pytest.fixture
def asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The connector, watched."""
    watched = Asked(bench.context.connectors["finicity"])
    monkeypatch.setitem(bench.context.connectors, "finicity", watched)
    return watched


async def click(bench: Bench, kind: str = "current") -> int:
    connection_id = ConnectionId(await bench.one("SELECT id FROM connections"))
    async with bench.database.tenant(bench.tenant.customer_id) as conn:
        asked = await bank_refresh.insert_bank_refresh(
            conn, bench.tenant.customer_id, connection_id, kind=kind, requested_by="user:1"
        )
    return asked.id


async def find(bench: Bench, refresh_id: int) -> BankRefresh:
    async with bench.database.tenant(bench.tenant.customer_id) as conn:
        found = await bank_refresh.find_bank_refresh(conn, bench.tenant.customer_id, refresh_id)
    assert found is not None
    return found


async def make_due(bench: Bench) -> None:
    """Let the time pass that a bank refresh, or a refresh, waits for."""
    await bench.superuser.execute(
        "UPDATE bank_refreshes SET due_at = now(), lease_until = lease_until - interval '1 hour'"
    )
    await bench.superuser.execute("UPDATE connections SET due_at = now()")


async def run(bench: Bench) -> None:
    """Do all that is due, without waiting for what is due later."""
    while await take_bank_refresh(bench.context):
        pass
    await bench.work()


async def buy(bench: Bench, link: Link, text: str) -> None:
    """Put a row on the account at the bank, which the aggregator does not know before it asks."""
    await bench.finbank.control(
        "POST", "transactions", accountId=link.accounts["checking"], amount=-12.5, description=text
    )


async def texts(bench: Bench, link: Link) -> list[str]:
    return [text for _, _, text in await bench.visible(link.accounts["checking"])]


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_click_brings_what_is_new(bench: Bench, link: Link) -> None:
    """The bank is asked, what it says is fetched, and the refresh is done when the rows are there."""
    await buy(bench, link, "AFTER THE CLICK")
    assert "AFTER THE CLICK" not in await texts(bench, link)
    before = count("bankfeed_bank_refreshes_total", kind="current", outcome="done")
    refresh_id = await click(bench)
    assert await take_bank_refresh(bench.context)
    asked = await find(bench, refresh_id)
    assert ("running", 0) == (asked.state, asked.status_code)
    assert asked.asked_at is not None
    assert asked.refresh_no is not None
    await bench.work()
    assert "AFTER THE CLICK" in await texts(bench, link)
    assert "done" == (await find(bench, refresh_id)).state
    assert before + 1 == count("bankfeed_bank_refreshes_total", kind="current", outcome="done")


async def test_the_schedule_asks_no_bank(bench: Bench, link: Link, asked: Asked) -> None:
    """An update that is due, and every event, is a refresh of what the aggregator has: no bank is asked."""
    await bench.superuser.execute("UPDATE connections SET next_update_at = now()")
    async with bench.database.queue() as conn:
        assert 1 == await connection.request_due_updates(conn, update_hours=24, limit=10)
    for event_type in EventType:
        await bench.receive(event_type, link.accounts["checking"])
    await run(bench)
    assert not await take_bank_refresh(bench.context)
    assert [] == asked.calls
    assert 0 == await bench.one("SELECT count(*) FROM bank_refreshes")


async def test_a_refusal_is_told(bench: Bench, link: Link) -> None:
    """What the bank refuses with ends the refresh in plain words, and shows on the connection; it is not asked again."""
    await bench.finbank.control("POST", f"logins/{link.login_id}/break", code=103)
    refresh_id = await click(bench)
    await run(bench)
    ended = await find(bench, refresh_id)
    assert ("failed", 103) == (ended.state, ended.status_code)
    assert "The bank refused the user name or password; enter them again." == ended.message
    assert ("needs_person", 103) == tuple(
        await bench.superuser.fetchrow("SELECT state::text, status_code FROM connections")
    )
    await make_due(bench)
    assert not await take_bank_refresh(bench.context)


async def test_a_locked_clients_bank_is_not_asked(bench: Bench, link: Link, asked: Asked) -> None:
    """A click that the lock overtook ends in plain words, and is not done later; one whose bank was asked goes on."""
    await bench.superuser.execute("UPDATE clients SET locked_at = now()")
    refresh_id = await click(bench)
    await run(bench)
    ended = await find(bench, refresh_id)
    assert ("failed", "The client was locked before the bank was asked.") == (ended.state, ended.message)
    assert [] == asked.calls
    await bench.superuser.execute("UPDATE clients SET locked_at = NULL")
    asked.failures = [StillAsking("it runs")]
    refresh_id = await click(bench)
    await run(bench)
    await bench.superuser.execute("UPDATE clients SET locked_at = now()")
    await make_due(bench)
    await run(bench)
    assert "running" == (await find(bench, refresh_id)).state
    await bench.superuser.execute("UPDATE clients SET locked_at = NULL")
    await bench.work()
    assert "done" == (await find(bench, refresh_id)).state
    assert 1 == len(asked.calls)


async def test_an_unknown_code_is_an_answer_too(bench: Bench, link: Link) -> None:
    """A code that nobody documents is what the bank said: it is told and not asked again by itself."""
    await bench.finbank.control("POST", f"logins/{link.login_id}/break", code=123)
    refresh_id = await click(bench)
    await run(bench)
    ended = await find(bench, refresh_id)
    assert ("failed", 123) == (ended.state, ended.status_code)


async def test_one_that_runs_there_is_waited_for(bench: Bench, link: Link, asked: Asked) -> None:
    """Where the aggregator says that it is at it already, its accounts are looked at, and the bank is asked no second time."""
    asked.failures = [StillAsking("it runs", code=325)]
    await buy(bench, link, "MEANWHILE")
    await bench.finbank.control("POST", "aggregate", loginId=link.login_id)
    refresh_id = await click(bench)
    await run(bench)
    waiting = await find(bench, refresh_id)
    assert ("running", None) == (waiting.state, waiting.refresh_no)
    assert waiting.asked_at is not None
    await make_due(bench)
    await run(bench)
    assert "done" == (await find(bench, refresh_id)).state
    assert "MEANWHILE" in await texts(bench, link)
    assert 1 == len(asked.calls)


async def test_finicity_says_that_it_runs(bench: Bench, link: Link) -> None:
    """Code 325 inside an HTTP 500 is no failure: the next look ends it."""
    await bench.finbank.control(
        "POST", "faults", failTimes=1, failStatus=500, failCode=325, failPath="institutionLogins"
    )
    refresh_id = await click(bench)
    await run(bench)
    assert "running" == (await find(bench, refresh_id)).state
    await make_due(bench)
    await run(bench)
    assert "done" == (await find(bench, refresh_id)).state


async def test_what_takes_too_long_goes_on_there(bench: Bench, link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time for an answer is over the aggregator goes on; what came of it is looked up."""
    hasty = bench.finbank.hasty_connector(timeout_s=0.5)
    monkeypatch.setitem(bench.context.connectors, "finicity", hasty)
    await hasty.find_account(bench.tenant.customer_ref, "1")  # has a token now
    await buy(bench, link, "SLOWLY")
    await bench.finbank.control("POST", "faults", slow_ms=1_000)
    refresh_id = await click(bench)
    assert await take_bank_refresh(bench.context)
    waiting = await find(bench, refresh_id)
    assert waiting.asked_at is not None
    assert waiting.refresh_no is None
    await bench.finbank.control("POST", "faults", slow_ms=0)
    async with asyncio.timeout(20):
        while "SLOWLY" not in [
            row["description"] for row in (await bench.finbank.truth(link.accounts["checking"]))["rows"]
        ]:
            pass
    await make_due(bench)
    await run(bench)
    assert "done" == (await find(bench, refresh_id)).state
    assert "SLOWLY" in await texts(bench, link)
    await hasty.close()


async def test_an_account_that_is_being_asked_is_not_read(bench: Bench, link: Link, asked: Asked) -> None:
    """While an attempt has no success yet, and no error, the look goes on."""
    asked.failures = [StillAsking("it runs")]
    refresh_id = await click(bench)
    await run(bench)
    listed = await asked.connector.list_login_accounts(bench.tenant.customer_ref, str(link.login_id))
    later = [replace(each, attempted_at=datetime.now(UTC) + timedelta(days=99)) for each in listed]

    async def list_running(*_: str) -> tuple[ListedAccount, ...]:
        return tuple(later)

    asked.list_login_accounts = list_running  # type: ignore[attr-defined]  # shadows the connector's
    await make_due(bench)
    await take_bank_refresh(bench.context)
    assert ("running", None) == ((found := await find(bench, refresh_id)).state, found.refresh_no)


async def test_trouble_on_the_way_is_tried_again(bench: Bench, link: Link, asked: Asked) -> None:
    """Where the aggregator could not be asked it is tried again, and the click is not lost."""
    asked.failures = [AggregatorError("away"), AggregatorError("away")]
    refresh_id = await click(bench)
    for _ in range(3):
        await run(bench)
        await make_due(bench)
    assert "done" == (await find(bench, refresh_id)).state
    assert 3 == len(asked.calls)


async def test_trouble_without_end_is_told(bench: Bench, link: Link, asked: Asked) -> None:
    """After the last try it has failed, in words for people."""
    asked.failures = [AggregatorError("away")] * 99
    refresh_id = await click(bench)
    for _ in range(MOST_TRIES + 3):
        await take_bank_refresh(bench.context)
        await make_due(bench)
    ended = await find(bench, refresh_id)
    assert ("failed", None) == (ended.state, ended.status_code)
    assert "The bank could not be asked now; try again later." == ended.message
    assert MOST_TRIES == len(asked.calls)


async def test_what_cannot_be_cured_is_told_at_once(bench: Bench, link: Link, asked: Asked) -> None:
    """Refused partner credentials are not tried again: five of these lock the partner."""
    asked.failures = [AggregatorError("refused", is_retryable=False)]
    refresh_id = await click(bench)
    await run(bench)
    assert "failed" == (await find(bench, refresh_id)).state


async def test_an_answer_that_cannot_be_read_is_not_asked_for_again(bench: Bench, link: Link, asked: Asked) -> None:
    """It did answer, so the accounts are looked at instead."""
    asked.failures = [BadAggregatorAnswer("what is this")]
    refresh_id = await click(bench)
    await run(bench)
    await make_due(bench)
    await run(bench)
    assert "done" == (await find(bench, refresh_id)).state
    assert 1 == len(asked.calls)


async def test_a_login_that_is_gone_closes(bench: Bench, link: Link) -> None:
    """Where the aggregator no longer has the login, the refresh says so and the connection closes."""
    await bench.finbank.control("DELETE", f"accounts/{link.accounts['checking']}")
    await bench.work()
    refresh_id = await click(bench)
    await run(bench)
    ended = await find(bench, refresh_id)
    assert ("failed", "The bank account is no longer linked.") == (ended.state, ended.message)


async def test_a_worker_that_dies_after_asking_loses_nothing(
    bench: Bench, link: Link, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the bank's answer and its commit, the click is done by the next worker: it asks again."""
    await buy(bench, link, "BEFORE THE KILL")

    async def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    refresh_id = await click(bench)
    with monkeypatch.context() as patched:
        patched.setattr("worker.bank_refresh._hand_over", die)
        with pytest.raises(KeyboardInterrupt):
            await take_bank_refresh(bench.context)
    assert not await take_bank_refresh(bench.context)  # its lease lasts
    await make_due(bench)
    await run(bench)
    assert "done" == (await find(bench, refresh_id)).state
    assert 2 == len(asked.calls)
    assert 1 == (await texts(bench, link)).count("BEFORE THE KILL")


async def test_a_worker_that_is_stopped_gives_it_back(bench: Bench, link: Link, asked: Asked) -> None:
    """A shutdown while the bank is asked leaves the click due at once."""
    began = asyncio.Event()

    async def hang(*_: str) -> tuple[ListedAccount, ...]:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    asked.ask_bank_refresh = hang  # type: ignore[method-assign,assignment]
    refresh_id = await click(bench)
    task = asyncio.create_task(take_bank_refresh(bench.context))
    await began.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    del asked.ask_bank_refresh
    await run(bench)
    assert "done" == (await find(bench, refresh_id)).state


async def test_what_cannot_be_fetched_is_told(bench: Bench, link: Link) -> None:
    """Where the bank was asked and its answer cannot be fetched for long, nobody waits for ever; it comes later."""
    refresh_id = await click(bench)
    assert await take_bank_refresh(bench.context)
    await bench.superuser.execute("UPDATE connections SET due_at = now() + interval '1 hour'")
    await bench.superuser.execute("UPDATE bank_refreshes SET due_at = now()")
    assert await take_bank_refresh(bench.context)
    ended = await find(bench, refresh_id)
    assert "failed" == ended.state
    assert "it will come with a later update" in ended.message


async def test_history_is_loaded(bench: Bench, link: Link) -> None:
    """24 months are loaded at the aggregator, listed by the next pull, and kept; the balance still agrees."""
    first = await bench.one("SELECT min(transacted_on) FROM transactions")
    rows = len(await texts(bench, link))
    refresh_id = await click(bench, "historic")
    await run(bench)
    assert ("done", 0) == ((ended := await find(bench, refresh_id)).state, ended.status_code)
    assert timedelta(days=500) < first - await bench.one("SELECT min(transacted_on) FROM transactions")
    assert 3 * rows < len(await texts(bench, link))
    pull = await bench.superuser.fetchrow("SELECT from_on, to_on, outcome::text FROM pulls ORDER BY id DESC LIMIT 1")
    assert (timedelta(days=731), "applied") == (pull["to_on"] - pull["from_on"], pull["outcome"])
    assert pull["from_on"] == await bench.one("SELECT history_from_on FROM accounts")
    await bench.finbank.pass_nights()
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, link.accounts["checking"])
    await bench.work()
    assert 0 == await bench.one("SELECT balance_gap FROM accounts")
    last_from_on = await bench.one("SELECT from_on FROM pulls ORDER BY id DESC LIMIT 1")
    assert timedelta(days=365) < last_from_on - pull["from_on"]  # other tests may leave the bank's clock far ahead


async def test_a_history_that_was_held_is_listed_again(bench: Bench, link: Link) -> None:
    """Where the pull of the history is not applied, the next one lists all of it again."""
    await click(bench, "historic")
    assert await take_bank_refresh(bench.context)
    await bench.finbank.control("POST", "faults", failTimes=1, failStatus=503, failCode=325, failPath="transactions")
    await bench.work()
    assert "failed" == await bench.one("SELECT outcome::text FROM pulls ORDER BY id DESC LIMIT 1")
    await make_due(bench)
    await bench.work()
    pull = await bench.superuser.fetchrow("SELECT from_on, to_on, outcome::text FROM pulls ORDER BY id DESC LIMIT 1")
    assert (timedelta(days=731), "applied") == (pull["to_on"] - pull["from_on"], pull["outcome"])


async def test_each_account_has_its_history(bench: Bench, asked: Asked) -> None:
    """All open accounts of a login are asked for, one after the other; a refusal of one does not stop the others."""
    link = await bench.link("checking", "savings")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    await bench.work()
    asked.failures = [AggregatorError("no", code=914, is_retryable=False)]
    refresh_id = await click(bench, "historic")
    await run(bench)
    assert sorted(map(str, link.accounts.values())) == sorted(asked.calls)
    assert ("done", 914) == ((ended := await find(bench, refresh_id)).state, ended.status_code)


async def test_a_question_needs_a_person(bench: Bench, link: Link) -> None:
    """Where the bank asks a question instead of giving its history, that is said (HTTP 203)."""
    await bench.finbank.control("POST", f"logins/{link.login_id}/break", code=185)
    refresh_id = await click(bench, "historic")
    await run(bench)
    ended = await find(bench, refresh_id)
    assert ("failed", 185) == (ended.state, ended.status_code)
