"""API keys for machines: made with some scopes, shown once, revoked. A key governs neither people nor keys."""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

from bankfeed.db.api_key import ApiKey, insert_api_key, list_api_keys, mark_api_key_revoked
from bankfeed.errors import BadRequest, NotFound
from ingress.api.call import Call
from ingress.api.caller import GRANTABLE
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, NoParams, Route, Scope, Wire
from ingress.api.tokens import KEY, hash_token, make_token

HINT_CHARS: Final = 4
TAG: Final = "API keys"


class KeyRow(Wire):
    """A key, without itself."""

    id: int
    name: str
    hint: Annotated[str, Meta(description="Its last four characters.")]
    scopes: list[Scope]
    created_by: Annotated[int | None, Meta(description="The id of the person who made it.")]
    created_at: datetime
    expires_at: Annotated[datetime | None, Meta(description="Until when it counts; null is until it is revoked.")]
    last_used_at: Annotated[datetime | None, Meta(description="To the minute; null before its first use.")]


class KeyPage(Wire):
    """Some keys, by id."""

    keys: list[KeyRow]
    next_cursor: str | None


class NewKeyAnswer(Wire):
    """A key that was made, and the key itself."""

    key: KeyRow
    secret: Annotated[str, Meta(description="What the machine sends as Authorization: Bearer. Shown here only.")]


class KeyListParams(Body):
    """Which page."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")] | None = None


class KeyParams(Body):
    """Which key."""

    key_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="The key's id.")]


class NewKey(Body):
    """What a key is for, and what it may do."""

    name: Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S", description="What it is for.")]
    scopes: Annotated[
        list[Scope],
        Meta(min_length=1, max_length=50, description="What it may do; not people:*, audit:read or self."),
    ]
    expires_at: Annotated[datetime, Meta(tz=True, description="Until when it counts.")] | None = None


async def list_keys(call: Call, params: KeyListParams) -> KeyPage:
    """List keys that were not revoked."""
    after_id = 0 if params.cursor is None else read_cursor(params.cursor, int)
    found = await list_api_keys(call.conn, call.customer_id, after_id=after_id, limit=params.limit + 1)
    shown = found[: params.limit]
    return KeyPage(
        keys=[_show(key) for key in shown],
        next_cursor=write_cursor(shown[-1].id) if len(found) > params.limit else None,
    )


async def make_key(call: Call, _: NoParams, body: NewKey) -> NewKeyAnswer:
    """Make a key."""
    if refused := sorted(set(body.scopes) - GRANTABLE):
        raise BadRequest(f"a key cannot have {', '.join(refused)}", field="scopes")
    secret = make_token(KEY, call.settings.environment)
    key = await insert_api_key(
        call.conn,
        call.customer_id,
        name=body.name.strip(),
        key_sha256=hash_token(secret),
        hint=secret[-HINT_CHARS:],
        scopes=sorted(set(body.scopes)),
        created_by=call.caller.user_id,
        expires_at=body.expires_at,
    )
    if key is None:
        raise BadRequest("expected a time to come, or none", field="expiresAt")
    call.target = f"keyId={key.id}"
    return NewKeyAnswer(key=_show(key), secret=secret)


async def revoke_key(call: Call, params: KeyParams) -> None:
    """Let a key count no more, from now on."""
    if not await mark_api_key_revoked(call.conn, call.customer_id, params.key_id):
        raise NotFound(f"there is no key {params.key_id}")


def _show(key: ApiKey) -> KeyRow:
    return KeyRow(
        id=key.id,
        name=key.name,
        hint=key.hint,
        scopes=[Scope(scope) for scope in key.scopes],
        created_by=key.created_by,
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/keys",
        handle=list_keys,
        summary="List API keys",
        tag=TAG,
        scope=Scope.PEOPLE_READ,
        params=KeyListParams,
        answer=KeyPage,
    ),
    Route(
        method="POST",
        path="/keys",
        handle=make_key,
        summary="Make an API key",
        text="Answers once with the key itself. A key acts for the customer, within its scopes.",
        tag=TAG,
        scope=Scope.PEOPLE_WRITE,
        body=NewKey,
        answer=NewKeyAnswer,
        status=201,
        carries_secret=True,
    ),
    Route(
        method="DELETE",
        path="/keys/{keyId}",
        handle=revoke_key,
        summary="Revoke an API key",
        tag=TAG,
        scope=Scope.PEOPLE_WRITE,
        params=KeyParams,
        errors={"not_found": 404},
    ),
)
