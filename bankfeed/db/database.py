"""The two pools to Postgres and the transactions that everything else runs in.

`tenant(customer_id)` is a transaction of bankfeed_app for one customer, `queue()` one of bankfeed_queue. Both are safe
behind PgBouncer in transaction mode: nothing outlives a transaction. A lost Postgres is `Unavailable`, whatever the
driver calls it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, Protocol, Self

import asyncpg

from bankfeed import metrics
from bankfeed.errors import RefusedData, SettingsError, Unavailable
from bankfeed.model import CustomerId
from bankfeed.settings import Settings

Connection = Any  # asyncpg publishes no types; a connection or a pool's proxy of one

SCHEMA_VERSION = 1
CLOSE_S = 5  # a Postgres that is frozen, or gone without a word, never says goodbye
# The queue's statements find a few rows by their keys, in an index's order. A planner without statistics, as in a new week's
# partition, takes a long queue for a short one and sorts all of it for each claim; so it is told beforehand.
QUEUE_PLANNER = dict.fromkeys(
    ("enable_sort", "enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "jit"), "off"
)
ACQUIRE_S = 20  # for a free connection: longer than the largest plan holds one

AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.ObjectNotInPrerequisiteStateError,  # a database that accepts no connections
    asyncpg.InvalidAuthorizationSpecificationError,  # a password changed under way: a person mends it, nothing is lost
    asyncpg.InsufficientResourcesError,  # connections, memory, disk
    asyncpg.PostgresSystemError,  # its disk or file system
    asyncpg.TransactionRollbackError,  # a deadlock: the transaction may be tried again
    asyncpg.InvalidCachedStatementError,  # the schema was changed under a prepared statement; the next try prepares anew
    asyncpg.ReadOnlySQLTransactionError,
)

REFUSED = (
    asyncpg.DataError,
    asyncpg.exceptions.DataError,
    asyncpg.CheckViolationError,
    asyncpg.ProgramLimitExceededError,  # a text that is too long for its index
)


class Tenants(Protocol):
    """Who gives out transactions of one customer: the database, or a transaction that is open already."""

    def tenant(self, customer_id: CustomerId) -> AbstractAsyncContextManager[Connection]:
        """Run, or join, a transaction of bankfeed_app that sees one customer's rows only."""


class Database:
    """Pools for the two roles. Make it with `Database.connect`."""

    def __init__(self, app: Any, queue: Any) -> None:
        self.app_pool = app
        self.queue_pool = queue
        for name, pool in (("app", app), ("queue", queue)):
            metrics.POOL_IN_USE.labels(name).set_function(partial(_count_in_use, pool))

    @classmethod
    async def connect(cls, settings: Settings) -> Self:
        """Open both pools and check who we are.

        Raises:
            Unavailable: Postgres cannot be reached, or has not been given the schema yet.
            SettingsError: a URL names a role that could see every tenant, or a database of another version.
        """
        app = await _open_pool(settings.database_url.reveal(), settings, name="app")
        try:
            queue = await _open_pool(settings.queue_database_url.reveal(), settings, name="queue", **QUEUE_PLANNER)
        except BaseException:
            app.terminate()
            raise
        database = cls(app, queue)
        try:
            for pool in (app, queue):
                async with database.transaction(pool) as conn:
                    await _refuse_powerful_role(conn)
                    await _require_schema(conn)
        except BaseException:
            database.terminate()
            raise
        return database

    @asynccontextmanager
    async def transaction(self, pool: Any) -> AsyncIterator[Connection]:
        """Run a transaction of one of the pools.

        Raises Unavailable where Postgres goes away, and RefusedData where a value does not fit its column or a CHECK.
        """
        with _in_our_words():
            async with pool.acquire(timeout=ACQUIRE_S) as conn, _lend(conn), conn.transaction(), _lend(conn):
                yield conn

    @asynccontextmanager
    async def tenant(self, customer_id: CustomerId) -> AsyncIterator[Connection]:
        """Run a transaction of bankfeed_app that sees one customer's rows only."""
        async with self.transaction(self.app_pool) as conn:
            await set_tenant(conn, customer_id)
            yield conn

    @asynccontextmanager
    async def tenant_in_bulk(self, customer_id: CustomerId) -> AsyncIterator[Connection]:
        """Run such a transaction, planned for bulk from its beginning: both in one round trip."""
        async with self.transaction(self.app_pool) as conn:
            await set_tenant_in_bulk(conn, customer_id)
            yield conn

    @asynccontextmanager
    async def app(self) -> AsyncIterator[Connection]:
        """Run a transaction of bankfeed_app without a tenant: it sees what is everybody's, such as institutions."""
        async with self.transaction(self.app_pool) as conn:
            yield conn

    @asynccontextmanager
    async def queue(self) -> AsyncIterator[Connection]:
        """Run a transaction of bankfeed_queue, which sees ids, due times and leases of all customers."""
        async with self.transaction(self.queue_pool) as conn:
            yield conn

    @asynccontextmanager
    async def queue_statement(self) -> AsyncIterator[Connection]:
        """Lend a connection of bankfeed_queue for one statement, which is a transaction of its own: one round trip."""
        with _in_our_words():
            async with self.queue_pool.acquire(timeout=5) as conn, _lend(conn):
                yield conn

    async def close(self) -> None:
        """Close both pools, waiting a little for what runs; then drop its connections. Safe to repeat."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await asyncio.gather(self.app_pool.close(), self.queue_pool.close())
        except TimeoutError:
            self.terminate()

    def terminate(self) -> None:
        """Drop every connection at once."""
        self.app_pool.terminate()
        self.queue_pool.terminate()


@asynccontextmanager
async def _lend(conn: Connection) -> AsyncIterator[None]:
    """Drop a connection whose user is cancelled: the driver would first wait for a Postgres that may be frozen."""
    try:
        yield
    except asyncio.CancelledError:
        with suppress(asyncpg.InterfaceError):  # it is closed already
            conn.terminate()
        raise


@contextmanager
def _in_our_words() -> Iterator[None]:
    """Turn the driver's errors into Unavailable and RefusedData; who was cancelled stays cancelled."""
    try:
        yield
    except REFUSED as error:  # before AWAY: the driver's own DataError is an InterfaceError too
        reason = str(error).partition("\nDETAIL")[0]  # the detail quotes the row
        raise RefusedData(f"Postgres refused the data: {type(error).__name__}: {reason}") from error
    except AWAY as error:
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError from error  # the rollback on a dropped connection fails
        raise Unavailable(f"Postgres does not answer: {type(error).__name__}") from error


async def set_tenant(conn: Connection, customer_id: CustomerId) -> None:
    """Name the customer of the current transaction; after it the setting reads ''."""
    await conn.execute("SELECT set_config('app.customer_id', $1, true)", str(customer_id))


async def plan_for_bulk(conn: Connection) -> None:
    """Let the rest of the transaction read and write thousands of rows, whatever the statistics say.

    Where a table is fuller than they say, as after a first load, the planner takes an account to have no row, and compares
    each row with each value of an array: 20,000 rows then take longer than a statement may. So joins go by hash, and
    arrays are planned as the constants they are: ANY of a constant is looked up by hash wherever it is no index condition.
    """
    await conn.execute(
        "SELECT set_config('enable_nestloop', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true)"
    )


async def set_tenant_in_bulk(conn: Connection, customer_id: CustomerId) -> None:
    """Name the customer of the current transaction, and plan for bulk (see plan_for_bulk)."""
    await conn.execute(
        """
        SELECT set_config('app.customer_id', $1, true), set_config('enable_nestloop', 'off', true),
               set_config('plan_cache_mode', 'force_custom_plan', true)
        """,
        str(customer_id),
    )


async def _open_pool(url: str, settings: Settings, *, name: str, **planner: str) -> Any:
    """Open a pool. PgBouncer lets no settings through: there the planner goes by its statistics alone."""
    try:
        return await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=settings.pool_connections,
            command_timeout=settings.database_s,
            timeout=5,
            statement_cache_size=settings.statement_cache,
            init=_init_connection,
            reset=_leave_as_it_is,
            server_settings={"application_name": f"bankfeed {name}", **planner} if settings.statement_cache else {},
        )
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise SettingsError(
            f"expected the {name} database URL to name a role and database that exist: {error}"
        ) from error
    except AWAY as error:
        raise Unavailable(f"Postgres does not answer: {type(error).__name__}") from error


def _count_in_use(pool: Any) -> int:
    in_use: int = pool.get_size() - pool.get_idle_size()
    return in_use


async def _init_connection(conn: Connection) -> None:
    await conn.set_type_codec(
        "jsonb", encoder=_with_version, decoder=_without_version, schema="pg_catalog", format="binary"
    )


def _with_version(json: bytes) -> bytes:
    return b"\x01" + json


def _without_version(wire: bytes) -> bytes:
    return wire[1:]


async def _leave_as_it_is(_: Connection) -> None:
    """Give a connection back without the driver's RESET ALL: nothing outlives our transactions."""


async def _refuse_powerful_role(conn: Connection) -> None:
    role = await conn.fetchrow(
        """
        SELECT current_user AS name, r.rolsuper OR r.rolbypassrls AS sees_all,
               EXISTS (SELECT FROM pg_class c WHERE c.relname = 'transactions'
                       AND c.relnamespace = 'public'::regnamespace
                       AND pg_has_role(r.oid, c.relowner, 'MEMBER')) AS owns
        FROM pg_roles r WHERE r.rolname = current_user
        """
    )
    if role["sees_all"] or role["owns"]:
        raise SettingsError(
            f"expected a role like bankfeed_app or bankfeed_queue, got {role['name']!r}, which owns the tables or is "
            "not bound by row-level security"
        )


async def _require_schema(conn: Connection) -> None:
    try:
        async with conn.transaction():
            version = await conn.fetchval("SELECT max(version) FROM schema_version")
    except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError) as error:
        raise Unavailable("the database has no Bankfeed schema yet; load it with `bankfeed schema`") from error
    if version != SCHEMA_VERSION:
        raise SettingsError(f"expected a database of schema version {SCHEMA_VERSION}, got {version}")
