"""The faults themselves: what the plan says is done to the house, and undone."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import redis.asyncio
from redis.exceptions import RedisError

from tests.torture.house import House
from tests.torture.plan import INGRESS_FAILPOINTS, Blow, Kind
from tests.torture.slot import Slot

HOUR_S = 3600.0
FAILPOINT_LIMIT_S = 15.0
READY_S = 30.0


@dataclass(slots=True)
class Blows:
    """Does faults. `struck` counts them by kind; `reached` holds the failpoints that killed."""

    house: House
    say: Callable[[str], None]
    struck: Counter[Kind] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    _servers: asyncio.Lock = field(default_factory=asyncio.Lock)  # one server down at a time

    async def strike(self, blow: Blow) -> None:
        """Do one fault, and undo it after its time."""
        self.say(str(blow))
        self.struck[blow.kind] += 1
        acts: dict[Kind, Callable[[Blow], Awaitable[None]]] = {
            Kind.KILL: self._kill,
            Kind.FAILPOINT: self._failpoint,
            Kind.POSTGRES: self._postgres,
            Kind.REDIS: self._redis,
            Kind.NETWORK: self._network,
            Kind.AGGREGATOR: self._aggregator,
            Kind.SUBSCRIBER: self._subscriber,
            Kind.CLOCK: self._clock,
        }
        await acts[blow.kind](blow)

    async def _kill(self, blow: Blow) -> None:
        for module in ("ingress", "worker"):
            if blow.what in (module, "both"):
                self._slot(module, blow.number).kill()

    async def _failpoint(self, blow: Blow) -> None:
        """Let a process run until it comes to the failpoint; where it does not, in good time, let it be."""
        module = "ingress" if blow.what in INGRESS_FAILPOINTS else "worker"
        async with self._borrowed(module, blow.number) as slot:
            slot.restart(failpoint=f"{blow.what}:{blow.number}")
            if await slot.wait_for_death(FAILPOINT_LIMIT_S):
                self.reached[blow.what] += 1
            else:
                slot.restart()

    @asynccontextmanager
    async def _borrowed(self, module: str, number: int) -> AsyncIterator[Slot]:
        """Have a slot for oneself; all but one of a kind may be taken so."""
        slots = self._slots(module)
        while all(slot.is_borrowed for slot in slots):
            await asyncio.sleep(0.05)
        free = [slot for slot in slots if not slot.is_borrowed]
        slot = free[number % len(free)]
        slot.is_borrowed = True
        try:
            yield slot
        finally:
            slot.is_borrowed = False

    async def _clock(self, blow: Blow) -> None:
        off_s = HOUR_S if blow.what == "an hour ahead" else -HOUR_S
        async with self._borrowed(blow.where, blow.number) as slot:
            slot.restart(off_s=off_s)

    async def _postgres(self, blow: Blow) -> None:
        if blow.what == "terminate":
            await self._terminate_backends()
            return
        async with self._servers:
            await self.house.stop_postgres()
            await asyncio.sleep(blow.for_s)
            self.house.postgres.start()

    async def _terminate_backends(self) -> None:
        try:
            conn = await self.house.connect()
            await conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('bankfeed_app', 'bankfeed_queue')"
            )
            await conn.close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pass  # it is down already, which is as good

    async def _redis(self, blow: Blow) -> None:
        if blow.what == "flush":
            client = redis.asyncio.Redis.from_url(self.house.redis.url())
            try:
                await client.flushall()
            except (RedisError, OSError):
                pass  # it is down already, and empty
            finally:
                await client.aclose()
            return
        async with self._servers:
            await self.house.kill_redis()
            await asyncio.sleep(blow.for_s)
            self.house.redis.start()

    async def _network(self, blow: Blow) -> None:
        proxy = self.house.proxies[blow.where]
        match blow.what:
            case "cut":
                proxy.cut()
            case "half close":
                proxy.half_close()
            case "delay":
                with proxy.delayed(0.05 * blow.for_s):
                    await asyncio.sleep(blow.for_s)
            case "black hole":
                with proxy.black_hole():
                    await asyncio.sleep(blow.for_s)
            case "deaf":
                with proxy.deaf():
                    await asyncio.sleep(blow.for_s)

    async def _aggregator(self, blow: Blow) -> None:
        match blow.what:
            case "slow":
                await self.house.finbank.control("POST", "faults", slow_ms=200 * blow.number)
            case "fail":
                await self.house.finbank.control("POST", "faults", failTimes=blow.number)
            case _:
                await self.house.finbank.control("POST", "faults", cutTimes=blow.number)
        await asyncio.sleep(blow.for_s)
        await self.mend_aggregator()

    async def mend_aggregator(self) -> None:
        """Let Finbank do nothing wrong any more."""
        await self.house.finbank.control("POST", "faults", slow_ms=0, failTimes=0, cutTimes=0)

    async def _subscriber(self, blow: Blow) -> None:
        self.house.listener.mood = blow.what
        await asyncio.sleep(blow.for_s)
        self.house.listener.mood = ""

    def _slots(self, module: str) -> Sequence[Slot]:
        return self.house.ingresses if module == "ingress" else self.house.workers

    def _slot(self, module: str, number: int) -> Slot:
        slots = self._slots(module)
        return slots[number % len(slots)]
