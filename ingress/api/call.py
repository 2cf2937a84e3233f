"""One request as its handler sees it: whose it is, its transaction, and what is to happen after the commit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from bankfeed.db import Connection, Database
from bankfeed.jobs import Wake
from bankfeed.model import CustomerId
from bankfeed.settings import Settings
from ingress.api.caller import Caller
from ingress.api.catalogue import Catalogue
from ingress.passwords import Passwords


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What handlers need besides the transaction, made once for the process."""

    database: Database
    passwords: Passwords
    catalogue: Catalogue


class Joined:
    """Stands for the database where a transaction of the caller's customer is open already: `tenant` joins it.

    Functions that open their own transaction (bankfeed/acts) so become a part of the request's, and commit with its audit
    line and idempotency key.
    """

    def __init__(self, conn: Connection, customer_id: CustomerId) -> None:
        self._conn = conn
        self._customer_id = customer_id

    @asynccontextmanager
    async def tenant(self, customer_id: CustomerId) -> AsyncIterator[Connection]:
        """Yield the open transaction. The customer must be the one that it is for."""
        assert customer_id == self._customer_id
        yield self._conn


@dataclass(slots=True, kw_only=True)
class Call:
    """A request in its transaction.

    `database` joins the transaction wherever a function wants a Database; `services` is what the process has besides.
    `base` is how the caller reached us, as scheme and host. `target` is for the audit line: ids like "client:12", never values; it begins as the path's own parameters.
    """

    caller: Caller
    conn: Connection
    settings: Settings
    services: Services
    request_id: UUID
    remote: str
    base: str = ""
    target: str = ""
    wakes: set[Wake] = field(default_factory=set)

    @property
    def customer_id(self) -> CustomerId:
        """The caller's customer."""
        return self.caller.customer_id

    @property
    def actor(self) -> str:
        """Who acts, as acts and the audit log name it: user:<id> or key:<id>."""
        return self.caller.actor

    @property
    def database(self) -> Joined:
        """The open transaction, for functions that want a Database."""
        return Joined(self.conn, self.customer_id)

    def wake(self, kind: Wake) -> None:
        """Wake the workers once this is committed."""
        self.wakes.add(kind)
