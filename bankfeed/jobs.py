"""Wake-ups: arq jobs that say "there is work of this kind", and nothing else.

Postgres decides what the work is. A lost, doubled or late wake-up changes latency only, so waking is best effort: it
never raises and nobody waits for it.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from time import monotonic, time
from typing import Any

import orjson
from arq.connections import ArqRedis
from redis.asyncio.connection import BlockingConnectionPool
from redis.exceptions import RedisError

from bankfeed import metrics
from bankfeed.logs import get_logger

QUEUE_NAME = "bankfeed:wakes"
WAKE_PAUSE_S = 0.02  # a worker looks every 20 ms: what is wanted meanwhile is one wake-up, and costs ingress nothing
FORGET_S = 1.0
WAKE_EXPIRES_S = 60  # the sweeps have long done what an older wake-up asks for


class Wake(StrEnum):
    """What there is to do; also the name of the arq function."""

    INBOX = "inbox"
    REFRESH = "refresh"
    DELIVER = "deliver"
    BANK_REFRESH = "bank_refresh"
    REMOVE = "remove"
    MAIL = "mail"


def serialize(job: Any) -> bytes:
    """Encode a job for Redis. JSON, never pickle: who can write to Redis must not run code in the worker."""
    return orjson.dumps(job, default=repr)


def deserialize(wire: bytes) -> Any:
    """Decode a job from Redis."""
    return orjson.loads(wire)


def open_redis(url: str) -> ArqRedis:
    """Make a Redis client for wake-ups; it connects when it is used."""
    pool = BlockingConnectionPool.from_url(
        url, max_connections=10, timeout=2, socket_connect_timeout=2, socket_timeout=5, health_check_interval=15
    )
    redis = ArqRedis(
        pool_or_conn=pool, job_serializer=serialize, job_deserializer=deserialize, default_queue_name=QUEUE_NAME
    )
    redis.auto_close_connection_pool = True  # the pool is this client's own: closing must not leave its sockets open
    return redis


class Waker:
    """Sends wake-ups, at most one of a kind on its way at a time. `redis` None sends none to other processes."""

    def __init__(self, redis: ArqRedis | None) -> None:
        self._redis = redis
        self._sending: dict[Wake, asyncio.Task[None]] = {}
        self._wanted: set[Wake] = set()
        self._starts: dict[Wake, Callable[[], object]] = {}
        self._forgot_at = float("-inf")

    def serve(self, kind: Wake, start: Callable[[], object]) -> None:
        """Do work of a kind in this process first: `start` begins it, or returns None where there is no room."""
        self._starts[kind] = start

    def wake(self, kind: Wake) -> None:
        """Begin the work here where there is room, else tell the other workers. Returns at once."""
        start = self._starts.get(kind)
        if start is not None and start() is not None:
            return
        if self._redis is None:
            return
        self._wanted.add(kind)
        if kind not in self._sending:
            self._sending[kind] = asyncio.create_task(self._send(kind), name=f"wake {kind}")

    async def _send(self, kind: Wake) -> None:
        try:
            await self._send_wanted(kind)
        finally:  # no await since the last look at what is wanted: a wake after it sends anew, and none falls between
            del self._sending[kind]

    async def _send_wanted(self, kind: Wake) -> None:
        assert self._redis is not None
        while kind in self._wanted:
            self._wanted.discard(kind)
            try:
                await self._redis.enqueue_job(kind.value, _expires=WAKE_EXPIRES_S)
                await self._forget_expired()
            except (RedisError, OSError, TimeoutError) as error:
                metrics.REDIS_UP.set(0)
                get_logger().warning("redis.away", kind=kind.value, error=type(error).__name__)
                return
            metrics.REDIS_UP.set(1)
            await asyncio.sleep(WAKE_PAUSE_S)

    async def _forget_expired(self) -> None:
        """Take wake-ups out of the queue that have expired, once a second: while no worker runs, nobody else does."""
        assert self._redis is not None
        if monotonic() - self._forgot_at < FORGET_S:
            return
        self._forgot_at = monotonic()
        expired_ms = (time() - WAKE_EXPIRES_S) * 1000
        await self._redis.zremrangebyscore(QUEUE_NAME, "-inf", expired_ms)

    async def close(self) -> None:
        """Finish what is on its way and close the client. Safe to repeat."""
        await asyncio.gather(*self._sending.values(), return_exceptions=True)
        if self._redis is not None:
            await self._redis.aclose()
