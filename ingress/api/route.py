"""What a route is: its path, who may call it, what it takes and gives. Values only; door.py serves them.

A handler is `async def name(call, params)` or, where the route has a body, `async def name(call, params, body)`. It runs
inside one transaction of the caller's customer (`call.conn`), which commits when it returns and rolls back when it raises;
the audit line and the idempotency key are written in the same transaction. It returns the answer's struct, None (the
envelope alone), or `Stream`. It raises BankfeedErrors and `Problem`, never aiohttp's.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, Final

import msgspec

from bankfeed.errors import BankfeedError

MAX_PAGE: Final = 1_000
USUAL_PAGE: Final = 100


class Wire(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=False):
    """What every struct of the wire is: camelCase names; amounts are decimal strings, times UTC, ids integers."""


class Body(Wire, forbid_unknown_fields=True):
    """A request's body: a field that we do not know is refused, because a misspelt one would silently do nothing."""


class NoParams(Body):
    """A route without path parameters and query."""


class Scope(StrEnum):
    """What a caller may do. A role stands for several (see caller.py); a key has those that it was made with."""

    CLIENTS_READ = "clients:read"
    CLIENTS_WRITE = "clients:write"
    ACCOUNTS_READ = "accounts:read"
    ACCOUNTS_WRITE = "accounts:write"
    TRANSACTIONS_READ = "transactions:read"
    TRANSACTIONS_WRITE = "transactions:write"
    LEDGER_READ = "ledger:read"
    LEDGER_WRITE = "ledger:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    PEOPLE_READ = "people:read"
    PEOPLE_WRITE = "people:write"
    AUDIT_READ = "audit:read"
    SELF = "self"
    """One's own session and password: every person, no key."""


class Problem(BankfeedError):
    """An answer other than the usual ones for BankfeedErrors: its HTTP status, a code from a closed list, a sentence."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field
        self.headers = dict(headers or {})


def conflict(message: str, *, field: str | None = None) -> Problem:
    """Say that something stands in the way as it is now: 409."""
    return Problem(409, "conflict", message, field=field)


def version_conflict(version: int) -> Problem:
    """Say that somebody changed it since the caller read it: 409."""
    return Problem(409, "version_conflict", f"it was changed since; its version is {version} now: read it again")


@dataclass(frozen=True, slots=True)
class Stream:
    """A long answer, sent piece by piece while the transaction is open."""

    chunks: AsyncIterator[bytes]
    content_type: str = "application/x-ndjson"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation. `path` is below /api/v1, with parameters like {clientId}, which are fields of `params`.

    `scope` None is public: the handler has no customer yet. `params` holds path parameters and query alike. `errors` are
    codes beyond those that every route can answer, each with its status. `invalid_status` is what a value that does not fit is
    answered with. `is_body_optional`: no body at all is one without fields. `carries_secret`: the answer holds a token, key
    or secret, so it is never kept, and a repeat with the same Idempotency-Key is 409. `is_versioned`: the answer has
    `version`, given as ETag too. `sunset_on` is for a route that will go. Examples of bodies are in examples.py.
    """

    method: str
    path: str
    handle: Callable[..., Awaitable[Any]]
    summary: str
    tag: str
    scope: Scope | None
    params: type[Body] = NoParams
    body: type[Body] | None = None
    answer: type[Wire] | None = None
    status: int = 200
    text: str = ""
    errors: Mapping[str, int] = field(default_factory=dict)
    invalid_status: int = 422
    is_body_optional: bool = False
    carries_secret: bool = False
    is_versioned: bool = False
    streams: bool = False
    sunset_on: date | None = None

    @property
    def name(self) -> str:
        """The operation's id: the handler's name in camelCase."""
        first, *rest = self.handle.__name__.split("_")
        return first + "".join(word.capitalize() for word in rest)
