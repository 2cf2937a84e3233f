"""The feed of changes: what was added, updated and removed since a cursor, a page at a time or as a stream.

A cursor is (client, since, after, epoch): `after` is the last change number read, `since` where the reader was last up to date.
A row comes once, at its latest change; it is added where it came after `since`. Numbers of a client commit in order, so that
nothing is ever numbered below what was read; a cursor has no end, and is as good after a dump and restore. After a restore of
an older backup the operator begins another epoch (deploy/RUNBOOK.md), of which older cursors are not.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from bankfeed.cursor import Position, read_cursor, write_cursor
from bankfeed.db.change import get_change_counter, list_changes
from bankfeed.db.ledger import list_shown_entries
from bankfeed.errors import BadRequest
from bankfeed.model import TransactionId
from ingress.api.call import Call
from ingress.api.route import MAX_PAGE, Problem, Route, Scope, Stream, Wire
from ingress.api.transactions import TAG, ClientParams, Transaction, find_client

STREAMED_ROWS: Final = 1_000  # at a time
_NOTHING: Final = ()
_encoder: Final = msgspec.json.Encoder()


class ChangesPage(Wire):
    """What changed, each row at its latest change only. Take `nextCursor` for what comes later."""

    added: Annotated[list[Transaction], Meta(description="Came after you were last up to date.")]
    updated: Annotated[
        list[Transaction], Meta(description="Were there before; perhaps out of view, so take unknown ones.")
    ]
    removed: Annotated[
        list[int], Meta(description="Ids of what is in view no more; you may not have seen some of them.")
    ]
    next_cursor: str
    has_more: Annotated[bool, Meta(description="Whether more has changed already.")]


class ChangeLine(Wire, kw_only=False):
    """A line of the stream: one transaction that is in view."""

    change: Literal["added", "updated"]
    transaction: Transaction


class RemovedLine(Wire, kw_only=False):
    """A line of the stream: one that is not."""

    change: Literal["removed"]
    id: int


class CursorLine(Wire, kw_only=False):
    """A line of the stream after each thousand rows, and at its end: where to go on from."""

    change: Literal["cursor"]
    next_cursor: str
    has_more: bool


class ChangesParams(ClientParams):
    """Whose changes, since when."""

    cursor: (
        Annotated[
            str,
            Meta(
                max_length=200,
                description="nextCursor of an earlier answer, or changesCursor of an event; all without.",
            ),
        ]
        | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many rows at most.")] = MAX_PAGE
    stream: Annotated[
        bool,
        Meta(
            description='All at once, as JSON lines: {"change":"added","transaction":...}, "removed" with id, "cursor".'
        ),
    ] = False


async def list_transaction_changes(call: Call, params: ChangesParams) -> ChangesPage | Stream:
    """Tell what changed since a cursor."""
    position = await _find_position(call, params)
    if params.stream:
        return Stream(_stream(call, position))
    changes, following = await _read(call, position, limit=params.limit)
    return ChangesPage(
        added=[each.transaction for each in changes if each.change == "added"],
        updated=[each.transaction for each in changes if each.change == "updated"],
        removed=[each.id for each in changes if each.change == "removed"],
        next_cursor=write_cursor(following),
        has_more=following.has_more,
    )


async def _find_position(call: Call, params: ChangesParams) -> Position:
    """Return where to read on. Raises BadRequest for another client's cursor, Problem for one that is ahead of everything."""
    client_id = await find_client(call, params)
    counter = await get_change_counter(call.conn, call.customer_id, client_id)
    if params.cursor is None:
        return Position(client_id, 0, 0, counter.epoch)
    position = read_cursor(params.cursor, Position)
    if position.client_id != client_id:
        raise BadRequest(f"expected a cursor of this client, got one of client {position.client_id}", field="cursor")
    is_ahead = not 0 <= position.since <= position.after <= counter.last_change_no
    if is_ahead or position.epoch != counter.epoch:
        text = "the cursor is of changes that a restore of an older backup took back: read anew, without one"
        raise Problem(409, "cursor_ahead", text, field="cursor")
    return position


async def _read(call: Call, position: Position, *, limit: int) -> tuple[list[ChangeLine | RemovedLine], Position]:
    """Read the next rows, and where to read on after them: up to date where no more have changed."""
    rows = await list_changes(
        call.conn,
        call.customer_id,
        position.client_id,
        after=position.after,
        since=position.since,
        limit=limit + 1,
    )
    shown = rows[:limit]
    last = shown[-1]["change_no"] if shown else position.after
    entries = await list_shown_entries(call.conn, call.customer_id, [row["id"] for row in shown if row["is_shown"]])
    following = Position(position.client_id, position.since if len(rows) > limit else last, last, position.epoch)
    return [_make_line(row, entries) for row in shown], following


def _make_line(row: Any, entries: Mapping[TransactionId, tuple[str, ...]]) -> ChangeLine | RemovedLine:
    row_id, is_shown = row["id"], row["is_shown"]
    if not is_shown:
        return RemovedLine("removed", row_id)
    transaction = Transaction(*(*row[:-2], entries.get(row_id, _NOTHING)))
    return ChangeLine("added" if row["is_added"] else "updated", transaction)


async def _stream(call: Call, position: Position) -> AsyncIterator[bytes]:
    """Read on until nothing more has changed; each thousand rows are a statement of their own, which keeps nothing open."""
    has_more = True
    while has_more:
        lines, position = await _read(call, position, limit=STREAMED_ROWS)
        has_more = position.has_more
        yield _encoder.encode_lines([*lines, CursorLine("cursor", write_cursor(position), has_more)])


ROUTES: Final = (
    Route(
        method="GET",
        path="/transactions/changes",
        handle=list_transaction_changes,
        summary="Read what changed since a cursor",
        text="Keep nextCursor, and ask with it again: at once while hasMore, later otherwise. Each changed transaction comes "
        "once, as it is now: added, updated, or its id as removed, which is all that is no longer in view, for whatever "
        "reason. Nothing is ever missed while changes go on; a cursor works for ever, also after a "
        "dump and restore; where an older backup was restored it is 409 cursor_ahead. A page asked for again has the same "
        "rows, less those that changed since and so come later. Without a cursor everything comes. With stream=true all of "
        "it comes as JSON lines, a cursor after each thousand rows, so that a stream that broke off goes on from there.",
        tag=TAG,
        scope=Scope.TRANSACTIONS_READ,
        params=ChangesParams,
        answer=ChangesPage,
        errors={"cursor_ahead": 409},
        streams=True,
    ),
)
