"""Who is let in: the token of a request, whose it is, and what the caller may do. All inside the request's transaction."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from bankfeed.db import Connection, set_tenant
from bankfeed.db.caller import FoundCaller, find_caller
from bankfeed.errors import Unauthorized
from ingress.api.caller import NOBODY, SCOPES_OF, Caller, Role
from ingress.api.route import Problem, Route, Scope

BEARER: Final = "bearer "
ENVIRONMENTS: Final = ("sandbox", "live")


def read_token(headers: Mapping[str, str], *, environment: str) -> bytes | None:
    """Return the SHA-256 of a request's token, None where it has none. Raises Problem where it is the other environment's."""
    header = headers.get("Authorization", "")
    if not header.lower().startswith(BEARER):
        return None
    token = header[len(BEARER) :].strip()
    for other in ENVIRONMENTS:
        if other != environment and token.startswith((f"bft_{other}_", f"bfk_{other}_")):
            raise Problem(
                401, "wrong_environment", f"expected a token of {environment}, got one of {other}", headers=_CHALLENGE
            )
    return sha256(token.encode(errors="replace")).digest()


async def enter(conn: Connection, route: Route, token_sha256: bytes | None, *, environment: str) -> Caller:
    """Find the caller and make the transaction its customer's. Raises Unauthorized, and Problem 403 without the scope."""
    if route.scope is None:
        await set_tenant(conn, NOBODY.customer_id)
        return NOBODY
    if token_sha256 is None:
        raise Unauthorized("expected the header Authorization: Bearer <token>")
    found = await find_caller(conn, token_sha256)
    if found is None or found.environment != environment:
        raise Unauthorized("the token is unknown, has expired or was revoked: authenticate again")
    caller = make_caller(found, token_sha256)
    if not caller.may(route.scope):
        raise Problem(403, "forbidden", f"expected a caller with {route.scope}, which {caller.actor} has not")
    return caller


def make_caller(found: FoundCaller, token_sha256: bytes) -> Caller:
    """Say what somebody who was found may do: what the role stands for, or the scopes that the key was made with."""
    role = None if found.role is None else Role(found.role)
    known = frozenset(Scope(scope) for scope in found.scopes if scope in set(Scope))
    return Caller(
        customer_id=found.customer_id,
        user_id=found.user_id,
        key_id=found.key_id,
        role=role,
        scopes=known if role is None else SCOPES_OF[role],
        token_sha256=token_sha256,
    )


_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}
