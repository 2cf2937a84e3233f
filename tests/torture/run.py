"""A run from its beginning to its account: build, torture, let it settle, compare."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bankfeed.failpoints import Failpoint
from tests.torture.account import Balance, close, counted
from tests.torture.bank import Life
from tests.torture.blows import Blows
from tests.torture.facts import count_done, count_waiting, read_facts
from tests.torture.house import House, open_house
from tests.torture.plan import Plan, draw_blows
from tests.torture.post import Post

SETTLE_S = 120.0
TOLD_EVERY_S = 5.0
HURRY_S = 1.0
MOST_AT_ONCE = 3
MOST_STILL_S = 180.0  # faults may follow each other for a minute or two
AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a run."""

    plan: Plan
    seconds: float
    balance: Balance
    blows: str
    failpoints: int
    logs: Path | None = None

    @property
    def is_good(self) -> bool:
        """True where nothing differs; and each failpoint killed, where that was asked for."""
        return self.balance.is_even and (not self.plan.every_failpoint or self.failpoints == len(Failpoint))

    def line(self) -> str:
        """Say it in one line."""
        lasted = f"{self.seconds / 60:.0f} min" if self.seconds >= 60 else f"{self.seconds:.0f} s"
        return (
            f"torture: {lasted}, seed {self.plan.seed}: {self.balance.line()}; {self.blows}; "
            f"{self.failpoints} of {len(Failpoint)} failpoints"
        )


class _Flow:
    """Sees to it that events flow: a run in which nothing does would find nothing."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._accepted = -1
        self._moved_at = 0.0

    def require(self) -> None:
        """Raise where nothing was accepted for long."""
        now = asyncio.get_running_loop().time()
        if self._post.accepted != self._accepted:
            self._accepted, self._moved_at = self._post.accepted, now
        elif now - self._moved_at > MOST_STILL_S:
            raise RuntimeError(f"expected events to flow, got none accepted for {MOST_STILL_S:.0f} s")


@dataclass(slots=True)
class Run:
    """One run in one house."""

    house: House
    life: Life
    blows: Blows
    say: Callable[[str], None]

    async def torture(self) -> None:
        """Let the bank live and faults happen: for the plan's time, or until the faults it draws are done."""
        await self.life.begin()
        plan = self.house.plan
        until = asyncio.get_running_loop().time() + plan.seconds
        living = asyncio.create_task(self.life.live(), name="life at the bank")
        striking: set[asyncio.Task[None]] = set()
        flow = _Flow(self.house.post)
        try:
            for blow in draw_blows(plan):
                await asyncio.sleep(blow.wait_s)
                while len(busy := [task for task in striking if not task.done()]) >= MOST_AT_ONCE:
                    await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)
                if asyncio.get_running_loop().time() > until and not plan.every_failpoint:
                    break
                if living.done():
                    living.result()
                flow.require()
                for task in [each for each in striking if each.done()]:
                    striking.discard(task)
                    task.result()  # a fault that cannot be done, or undone, is no fault of the product: the run ends
                striking.add(asyncio.create_task(self.blows.strike(blow), name=str(blow)))
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
        await asyncio.gather(*striking)

    async def settle(self) -> None:
        """End every fault, and wait until nothing is left to do. What still waits after a time is in the account."""
        self.say("faults end; settling")
        self.house.post.is_quick = True
        await self.blows.mend_aggregator()
        await self.life.calm_down()
        for slot in self.house.slots:
            await slot.wait_until_ready()
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                while not await self._is_quiet():
                    await asyncio.sleep(0.1)

    async def _is_quiet(self) -> bool:
        if not await self.life.is_told() or self.house.post.outstanding:
            return False
        conn = await self.house.connect()
        try:
            await conn.execute(
                "UPDATE delivery_queue SET due_at = now() WHERE lease_token IS NULL AND due_at > now() + interval '1 s'"
            )
            return not any((await count_waiting(conn)).values())
        finally:
            await conn.close()

    async def hurry(self) -> None:
        """Shorten the waits of what was given back after a failure, until cancelled: hours of back-off are not the test.

        What is leased is left alone: that a lease ends is part of the test.
        """
        while True:
            with suppress(*AWAY):
                conn = await self.house.connect()
                try:
                    for table in ("inbox", "connections"):
                        await conn.execute(f"UPDATE {table} SET due_at = now() WHERE {_GIVEN_BACK[table]}")  # noqa: S608
                finally:
                    await conn.close()
            await asyncio.sleep(HURRY_S)

    async def tell(self) -> None:
        """Say how it goes, every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(TOLD_EVERY_S)
            with suppress(*AWAY):
                conn = await self.house.connect()
                try:
                    done, waiting = await count_done(conn), await count_waiting(conn)
                finally:
                    await conn.close()
                self.say(
                    f"{self.house.post.accepted:,} accepted, {done['processed']:,} processed, {done['pulls']:,} pulls, "
                    f"{done['delivered']:,} delivered; waiting: {_in_words(waiting)}; "
                    f"{sum(self.blows.struck.values())} faults"
                )


_GIVEN_BACK = {
    "inbox": "state = 'waiting' AND lease_token IS NULL AND due_at > now() + interval '1 s'",
    "connections": "handled < requested AND lease_token IS NULL AND due_at > now() + interval '1 s'",
}


async def torture(plan: Plan, say: Callable[[str], None]) -> Outcome:
    """Run a plan; `say` gets the progress."""
    began = time.monotonic()

    def tell(text: str) -> None:
        spent = round(time.monotonic() - began)
        say(f"{spent // 60}:{spent % 60:02d} {text}")

    async with open_house(plan) as house:
        tell("the house is open")
        rng = random.Random(plan.seed + 1)  # noqa: S311 - faults, nothing secret
        life = Life(plan, house.finbank, house.post, house.customers, rng)
        run = Run(house, life, Blows(house, tell), tell)
        keepers = [asyncio.create_task(slot.keep(), name=slot.name) for slot in house.slots]
        beside = [asyncio.create_task(run.tell()), asyncio.create_task(run.hurry())]
        try:
            for slot in house.slots:
                await slot.wait_until_ready()
            tell("everything is up; faults begin")
            tortured_from = time.monotonic()
            await run.torture()
            seconds = time.monotonic() - tortured_from
            await run.settle()
            tell("settled; the processes are asked to end")
        finally:
            for task in (*keepers, *beside):
                task.cancel()
            await asyncio.gather(*keepers, *beside, return_exceptions=True)
            await asyncio.gather(*(slot.stop() for slot in house.slots))
        tell("every process has ended; closing the account")
        balance = close(await read_facts(house, life))
        struck = run.blows.struck
        return Outcome(
            plan=plan,
            seconds=seconds,
            balance=balance,
            blows=f"{struck.total()} faults ({counted(struck.elements())})",
            failpoints=len(run.blows.reached),
            logs=None if balance.is_even else house.keep_logs(*map(str, balance.differences)),
        )


def _in_words(waiting: dict[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in waiting.items())
