"""An institution is looked up as soon as a refresh tells that it may stand otherwise than noted, with a real Finbank."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import pytest
from structlog.testing import capture_logs

from bankfeed.aggregators import Aggregator
from bankfeed.db import institution
from bankfeed.errors import AggregatorError
from bankfeed.model import EventType, ListedInstitution
from tests.db.made import wait_until_blocked
from tests.finbank import FINBANK_ID, Link
from tests.worker.conftest import Bench
from worker import institutions, looks
from worker.institutions import Listing
from worker.looks import REST_S, Looks
from worker.notices import tell_notices
from worker.refresh import take_refresh

MIGRATED, DOWN, WRONG_PASSWORD = 948, 905, 103
STATUS = f"institutions/{FINBANK_ID}/status"


class Watched:
    """The bank's connector, which counts looks at single institutions; they fail, or hang, as it is told."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.connector: Aggregator = bench.context.connectors["finicity"]
        self.looks = 0
        self.connections_in_use = 0
        self.error: AggregatorError | None = None
        self.hangs = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connector, name)

    async def find_institution(self, ref: str) -> ListedInstitution | None:
        self.looks += 1
        for pool in (self.bench.database.app_pool, self.bench.database.queue_pool):
            self.connections_in_use += pool.get_size() - pool.get_idle_size()
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return await self.connector.find_institution(ref)


@dataclass(slots=True, kw_only=True)
class Scene:
    """A linked login at an institution that can be let stand otherwise, and a clock that the test drives."""

    bench: Bench
    link: Link
    watched: Watched
    now_s: float = 0.0

    async def stand(self, status: str, **more: str) -> None:
        """Let the institution stand so at the aggregator; that nothing is done to its logins by that is Finbank's rule."""
        await self.bench.finbank.control("PUT", STATUS, status=status, **more)

    async def break_login(self, code: int) -> None:
        """Let the login's accounts carry a code from now on."""
        await self.bench.finbank.control("POST", f"logins/{self.link.login_id}/break", code=code)
        await self.bench.finbank.control("POST", "aggregate", loginId=self.link.login_id)

    async def refresh(self) -> None:
        """Refresh the connection once, as soon as a pause is over."""
        await self.ask()
        assert await take_refresh(self.bench.context)

    async def ask(self) -> None:
        """Let a refresh be due now."""
        await self.bench.superuser.execute("UPDATE connections SET requested = requested + 1, due_at = now()")
        await self.bench.superuser.execute("UPDATE institution_health SET blocked_until = '-infinity'")

    async def noted(self) -> str:
        """Return how the institution stands here."""
        status: str = await self.bench.one("SELECT status FROM institutions WHERE aggregator_id = $1", str(FINBANK_ID))
        return status

    async def tell(self) -> int:
        """Sweep the notices; return how many connections were told of."""
        return await tell_notices(self.bench.context)


@pytest.fixture
async def scene(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """All institutions listed, a login linked and pulled; the bank is well again afterwards."""
    await Listing(bench.context).run()
    link = await bench.link("checking", "savings")
    await bench.receive(EventType.ACCOUNT_ADDED, *link.accounts.values())
    await bench.work()
    watched = Watched(bench)
    monkeypatch.setitem(bench.context.connectors, "finicity", watched)
    scene = Scene(bench=bench, link=link, watched=watched)
    context = replace(bench.context, looks=Looks(clock=lambda: scene.now_s))
    scene.bench = replace(bench, context=context)
    yield scene
    await bench.finbank.control("POST", "faults", failTimes=0)
    await bench.finbank.control("PUT", STATUS, status="online")


async def test_an_outage_is_told_in_the_next_sweep_and_so_is_its_end(scene: Scene) -> None:
    """A refresh that meets it has the institution looked up, and the first that comes through again too."""
    await scene.stand("offline")
    await scene.break_login(DOWN)
    await scene.refresh()
    assert ("offline", 1) == (await scene.noted(), await scene.tell())
    await scene.stand("online")
    await scene.bench.finbank.control("POST", f"logins/{scene.link.login_id}/fix")
    scene.now_s += REST_S
    await scene.refresh()
    assert ("online", 1) == (await scene.noted(), await scene.tell())
    assert (2, 0) == (scene.watched.looks, scene.watched.connections_in_use)


@pytest.mark.parametrize("path", ["institutionLogins", "/transactions"])
async def test_a_bank_that_does_not_answer_is_looked_up(scene: Scene, path: str) -> None:
    """Whichever call meets it."""
    await scene.stand("maintenance")
    await scene.bench.finbank.control("POST", "faults", failTimes=1, failStatus=503, failCode=0, failPath=path)
    await scene.refresh()
    assert ("maintenance", 1) == (await scene.noted(), await scene.tell())


@pytest.mark.parametrize("way", ["listed", "inside a 500", "instead of transactions"])
async def test_a_migration_is_told_in_the_next_sweep(scene: Scene, way: str) -> None:
    """The code that bids people consent anew has it looked up, whichever way it comes, with the day until which they have to."""
    await scene.stand("migrating", until="2031-03-01T02:00:00Z")
    if way == "listed":
        await scene.break_login(MIGRATED)
    else:
        path = "institutionLogins" if way == "inside a 500" else "/transactions"
        await scene.bench.finbank.control(
            "POST", "faults", failTimes=1, failStatus=500, failCode=MIGRATED, failPath=path
        )
    await scene.refresh()
    assert ("migrating", 1) == (await scene.noted(), await scene.tell())
    until = "SELECT migrates_until FROM institutions WHERE aggregator_id = $1"
    assert date(2031, 2, 28) == await scene.bench.one(until, str(FINBANK_ID))


async def test_it_is_looked_up_once_in_ten_minutes(scene: Scene) -> None:
    """However many refreshes meet the outage; and what has not changed is not written."""
    await scene.break_login(DOWN)
    changed_at = await scene.bench.one("SELECT max(changed_at) FROM institutions")
    for scene.now_s, expected in ((0.0, 1), (REST_S - 1, 1), (REST_S, 2), (REST_S + 1, 2)):
        await scene.refresh()
        assert expected == scene.watched.looks
    assert changed_at == await scene.bench.one("SELECT max(changed_at) FROM institutions")
    assert 0 == await scene.tell()


async def test_what_says_nothing_of_the_bank_has_nothing_looked_up(scene: Scene) -> None:
    """A refresh that comes through at a bank that is well, and what a person has to mend."""
    await scene.refresh()
    await scene.break_login(WRONG_PASSWORD)
    await scene.refresh()
    assert 0 == scene.watched.looks


@pytest.mark.parametrize("fault", ["refused", "hangs"])
async def test_a_look_that_fails_is_no_failure_of_the_refresh(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The refresh is ended and its line written before; the failure is logged, and the next look has its time."""
    monkeypatch.setattr(institutions, "LOOK_S", 0.2)
    scene.watched.hangs, scene.watched.error = fault == "hangs", AggregatorError("our credentials were refused")
    await scene.stand("migrating", until="2031-03-01T02:00:00Z")
    await scene.break_login(MIGRATED)
    with capture_logs() as lines:
        await scene.refresh()
    events = [line["event"] for line in lines]
    assert ["connection.refreshed", "institution.not_looked_up"] == events[-2:]
    assert await scene.bench.one("SELECT handled = requested AND lease_token IS NULL FROM connections")
    assert "online" == await scene.noted()


async def test_a_look_waits_for_a_batch_of_the_list(scene: Scene) -> None:
    """Both write how institutions stand; neither may miss what the other has noted."""
    await scene.stand("offline")
    await scene.break_login(DOWN)
    await scene.ask()
    async with scene.bench.database.app() as conn:
        assert await institution.try_to_list(conn)
        refreshing = asyncio.create_task(take_refresh(scene.bench.context))
        await wait_until_blocked(scene.bench.superuser)
        assert "online" == await scene.noted()
    assert await refreshing
    assert "offline" == await scene.noted()


def test_a_worker_remembers_a_bounded_number_of_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten first; a look that was refused does not count as one."""
    monkeypatch.setattr(looks, "MOST_LOOKS", 2)
    now = [0.0]
    kept = Looks(clock=lambda: now[0])
    assert [True, True, False, True] == [kept.begin(each) for each in (1, 2, 2, 3)]
    assert [False, False, True] == [kept.begin(each) for each in (3, 2, 1)]
    now[0] = REST_S
    assert kept.begin(3)
