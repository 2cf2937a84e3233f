"""The daily list of institutions, and what a sandbox and a live deployment link."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
import pytest

from bankfeed import metrics
from bankfeed.aggregators import InstitutionPage
from bankfeed.db import Database
from bankfeed.db.institution import find_institution_by_ref, upsert_institutions
from bankfeed.errors import AggregatorError
from bankfeed.jobs import Waker
from bankfeed.model import EventType, ListedInstitution
from bankfeed.settings import Settings
from tests.finbank import FINBANK_ID
from tests.worker.conftest import Bench
from worker.context import Context
from worker.inbox import take_inbox
from worker.institutions import Listing, find_refusal

PRAIRIE_ID = 170703  # Finbank has it too, and its name is that of no pretend bank


@dataclass
class Lister:
    """An aggregator with nothing but a list: its pages in order, each of which may be an error."""

    pages: list[InstitutionPage | AggregatorError]
    is_configured: bool = True
    asked: list[int] = field(default_factory=list)

    async def list_institutions(self, page: int) -> InstitutionPage:
        self.asked.append(page)
        answer = self.pages[page - 1] if page <= len(self.pages) else InstitutionPage(rows=(), found=None)
        if isinstance(answer, AggregatorError):
            raise answer
        return answer


def page(*refs: str, found: int | None, unread_rows: int = 0) -> InstitutionPage:
    rows = tuple(ListedInstitution(ref=ref, name=f"Bank {ref}") for ref in refs)
    return InstitutionPage(rows=rows, found=found, unread_rows=unread_rows)


@dataclass
class House:
    """A worker whose only work is the list."""

    context: Context
    superuser: asyncpg.Connection
    now_s: float = 0.0

    def begin(self, lister: Lister) -> Listing:
        context: Any = replace(self.context, connectors={"finicity": lister})  # type: ignore[dict-item]  # no more of it is called
        return Listing(context, clock=lambda: self.now_s)

    async def list(self, *pages: InstitutionPage | AggregatorError) -> list[int]:
        """List once, as a worker that has just started; return the pages that were asked for."""
        lister = Lister(list(pages))
        await self.begin(lister).run()
        return lister.asked

    async def pass_a_day(self) -> None:
        await self.superuser.execute("UPDATE institutions SET listed_at = listed_at - interval '25 hours'")

    async def statuses(self) -> dict[str, str]:
        rows = await self.superuser.fetch("SELECT aggregator_id, status FROM institutions ORDER BY id")
        return {row["aggregator_id"]: row["status"] for row in rows}


@pytest.fixture
def house(database: Database, settings: Settings, superuser: asyncpg.Connection) -> House:
    """A worker without anything else."""
    return House(Context(database=database, connectors={}, waker=Waker(None), settings=settings), superuser)


def count(outcome: str) -> float:
    return float(metrics.INSTITUTION_LISTINGS.labels(outcome)._value.get())


async def test_finbanks_list_is_read(bench: Bench) -> None:
    """The real connector lists what Finbank has, page after page, with what the documents name."""
    connector = bench.context.connectors["finicity"]
    assert connector.is_configured
    object.__setattr__(connector, "_config", replace(bench.finbank.config(), page_rows=3))
    await Listing(bench.context).run()
    listed = {each["name"]: each for each in await bench.superuser.fetch("SELECT * FROM institutions")}
    assert 10 == len(listed)
    assert [name for name, each in listed.items() if not each["is_sandbox"]] == ["Prairie Credit Union"]
    assert [name for name, each in listed.items() if each["is_oauth"]] == ["FinBank West"]
    first = listed["FinBank"]
    assert ("1-208-555-0132", "help@finbank.example", "USD", "America/Denver", ["banking"]) == (
        *(first["phone"], first["email"], first["currency"], first["time_zone"], first["account_types"]),
    )
    assert ("https://finbank.example", "https://finbank.example/login") == (first["url"], first["sign_in_url"])
    assert ["cards"] == listed["FinBank Cards"]["account_types"]
    assert "maintenance" == listed["FinBank Pacific"]["status"]


async def test_a_list_is_read_once_a_day(house: House) -> None:
    """It is read when there is none, and again when it is a day old."""
    before = count("whole")
    assert [1, 2] == await house.list(page("1", "2", found=3), page("3", found=3))
    assert [] == await house.list(page("9", found=1))
    await house.pass_a_day()
    assert [1] == await house.list(page("1", "2", "3", found=3))
    assert before + 2 == count("whole")


async def test_what_a_whole_list_does_not_name_is_gone(house: House) -> None:
    """After a complete list only; listed again it is back."""
    await house.list(page("1", "2", "3", found=3))
    await house.pass_a_day()
    await house.list(page("1", "3", found=2))
    assert {"1": "online", "2": "gone", "3": "online"} == await house.statuses()
    await house.pass_a_day()
    await house.list(page("1", "2", "3", found=3))
    assert {"1": "online", "2": "online", "3": "online"} == await house.statuses()


@pytest.mark.parametrize(
    "pages",
    [
        [page("1", found=4), AggregatorError("away")],
        [page("1", "4", found=4), page("5", found=4)],
        [page("1", "4", found=4), page("5", "6", found=5), page("7", found=5)],
        [page("1", "4", "5", found=4, unread_rows=1)],
        [page("1", "4", "5", found=None)],
        [page(found=0)],
    ],
    ids=["broken off", "fewer than counted", "count changed", "unreadable row", "no count", "empty"],
)
async def test_a_list_that_is_not_whole_takes_nothing_away(
    house: House, pages: Sequence[InstitutionPage | AggregatorError]
) -> None:
    """What it brings is kept; what it does not name stays as it is."""
    await house.list(page("1", "2", "3", found=3))
    await house.pass_a_day()
    await house.list(*pages)
    statuses = await house.statuses()
    assert {"1", "2", "3"} | {
        each.ref for one in pages if isinstance(one, InstitutionPage) for each in one.rows
    } == set(statuses)
    assert {"online"} == set(statuses.values())


async def test_a_list_that_broke_off_is_read_again_soon(house: House) -> None:
    """A failure is counted, and the next sweep tries again from the beginning."""
    before = count("failed")
    assert [1, 2] == await house.list(page("1", found=2), AggregatorError("away"))
    assert before + 1 == count("failed")
    assert [1, 2] == await house.list(page("1", found=2), page("2", found=2))


async def test_a_list_without_end_is_left(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An aggregator that never runs out of pages fails the list, and takes nothing away."""
    monkeypatch.setattr("worker.institutions.MOST_PAGES", 3)
    before = count("failed")
    pages = [page(str(n), found=None) for n in range(9)]
    assert [1, 2, 3] == await house.list(*pages)
    assert before + 1 == count("failed")


async def test_refused_credentials_rest_for_a_day(house: House) -> None:
    """Asking again and again with credentials that are refused would have them locked."""
    lister = Lister([AggregatorError("refused", is_retryable=False)])
    listing = house.begin(lister)
    for house.now_s in (0.0, 3_600.0, 86_399.0):
        await listing.run()
    assert [1] == lister.asked
    house.now_s = 86_400.0
    await listing.run()
    assert [1, 1] == lister.asked


async def test_nothing_is_asked_without_credentials(house: House) -> None:
    """A deployment without an aggregator is left in peace."""
    lister = Lister([page("1", found=1)], is_configured=False)
    await house.begin(lister).run()
    assert [] == lister.asked


async def test_one_worker_lists_at_a_time(house: House) -> None:
    """Who finds another one at it leaves it to that one."""
    async with house.context.database.app() as conn:
        await conn.execute("SELECT pg_advisory_xact_lock(hashtext('bankfeed institutions'))")
        assert [1] == await house.list(page("1", found=2), page("2", found=2))
    assert {} == await house.statuses()


# What may be linked


@pytest.mark.parametrize(
    ("environment", "is_sandbox", "is_allowed"),
    [
        ("sandbox", True, True),
        ("sandbox", False, False),
        ("sandbox", None, False),
        ("live", True, False),
        ("live", False, True),
        ("live", None, True),
    ],
)
async def test_a_sandbox_links_pretend_banks_and_live_the_others(
    house: House,
    environment: str,
    is_sandbox: bool | None,  # noqa: FBT001 - a table of cases
    is_allowed: bool,  # noqa: FBT001
) -> None:
    """An institution that nobody knows is no pretend bank."""
    async with house.context.database.app() as conn:
        if is_sandbox is not None:
            listed = [ListedInstitution(ref="1", name="Bank", is_sandbox=is_sandbox)]
            await upsert_institutions(conn, connector="finicity", listed=listed)
        found = await find_institution_by_ref(conn, connector="finicity", ref="1")
    assert is_allowed == (find_refusal(found, ref="1", environment=environment) == "")


async def link_at(bench: Bench, institution_id: int, username: str) -> dict[str, Any]:
    linked: dict[str, Any] = await bench.finbank.control(
        "POST",
        "link",
        customerId=int(bench.tenant.customer_ref),
        institutionId=institution_id,
        username=username,
        password="go",
        accounts=["checking"],
    )
    return linked


def go_live(bench: Bench) -> None:
    object.__setattr__(bench.context, "settings", replace(bench.context.settings, environment="live"))


REFUSED = {
    "sandbox": "institution 170703 (Prairie Credit Union) is no pretend bank, and this deployment is sandbox",
    "live": "institution 101732 (FinBank) is a pretend bank, and this deployment is live",
}


@pytest.mark.parametrize("environment", ["sandbox", "live"])
async def test_the_wrong_kind_of_bank_is_not_linked(bench: Bench, environment: str) -> None:
    """Nothing of it is stored, the event says why, and it is counted; the other kind is linked."""
    if environment == "live":
        go_live(bench)
    wrong, right = (FINBANK_ID, PRAIRIE_ID) if environment == "live" else (PRAIRIE_ID, FINBANK_ID)
    account_ids = [
        (await link_at(bench, institution_id, f"user-{institution_id}"))["accounts"]["checking"]
        for institution_id in (wrong, right)
    ]
    before = metrics.LINKS_REFUSED._value.get()
    await bench.receive(EventType.ACCOUNT_ADDED, *account_ids)
    await bench.work()
    assert [str(account_ids[1])] == [
        row["aggregator_id"] for row in await bench.superuser.fetch("SELECT aggregator_id FROM accounts")
    ]
    assert 1 == await bench.one("SELECT count(*) FROM connections")
    assert ("set_aside", f"{REFUSED[environment]}: {account_ids[0]}") == tuple(
        await bench.superuser.fetchrow("SELECT state::text, reason FROM inbox")
    )
    assert before + 1 == metrics.LINKS_REFUSED._value.get()


async def test_a_refusal_is_remembered_with_its_reason(bench: Bench) -> None:
    """A later event for the same account says why too, without another listing."""
    account_id = (await link_at(bench, PRAIRIE_ID, "demo"))["accounts"]["checking"]
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)
    await bench.work()
    object.__setattr__(bench.context, "connectors", {})
    await bench.receive(EventType.TRANSACTIONS_REFRESHED, account_id)
    await bench.work()
    reasons = [row["reason"] for row in await bench.superuser.fetch("SELECT reason FROM inbox ORDER BY id")]
    assert [f"{REFUSED['sandbox']}: {account_id}"] * 2 == reasons


async def test_a_connection_at_the_wrong_kind_of_bank_stores_nothing(bench: Bench) -> None:
    """One whose institution is first seen at its refresh ends that refresh: unsupported, handled, and no account."""
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    while await take_inbox(bench.context):
        pass
    await bench.superuser.execute("UPDATE institutions SET is_sandbox = false, name = 'First Bank'")
    before = metrics.LINKS_REFUSED._value.get()
    await bench.work()
    assert ("unsupported", 1, 1, 0) == tuple(
        await bench.superuser.fetchrow("SELECT state::text, requested, handled, failures FROM connections")
    )
    assert 0 == await bench.one("SELECT count(*) FROM accounts")
    assert 0 == await bench.one("SELECT count(*) FROM pulls")
    assert before + 1 == metrics.LINKS_REFUSED._value.get()
    await bench.superuser.execute("UPDATE institutions SET is_sandbox = true")
    await bench.superuser.execute("UPDATE connections SET requested = requested + 1, due_at = now()")
    await bench.work()
    assert "active" == await bench.one("SELECT state::text FROM connections")
    assert 1 == await bench.one("SELECT count(*) FROM accounts")


async def test_an_institution_that_cannot_be_asked_leaves_the_event(bench: Bench) -> None:
    """Where the aggregator does not say which bank it is, nothing is linked yet, and the event waits."""
    link = await bench.link("checking")
    await bench.receive(EventType.ACCOUNT_ADDED, link.accounts["checking"])
    await bench.finbank.control(
        "POST", "faults", failTimes=1, failStatus=503, failCode=325, failPath="/institution/v2/"
    )
    await take_inbox(bench.context)
    await take_inbox(bench.context)
    assert 0 == await bench.one("SELECT count(*) FROM connections")
    assert "waiting" == await bench.one("SELECT state::text FROM inbox")
    await bench.superuser.execute("UPDATE inbox SET due_at = now()")
    await bench.work()
    assert "done" == await bench.one("SELECT state::text FROM inbox")
    assert 1 == await bench.one("SELECT count(*) FROM accounts")
