"""The audit log, for the owner to read."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta

from bankfeed.db.audit import AuditFilter, AuditLine, list_audit
from ingress.api.call import Call
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, Route, Scope, Wire


class AuditRow(Wire):
    """One thing that was done or read."""

    id: int
    at: datetime
    actor: Annotated[str, Meta(description="user:<id>, key:<id> or system.")]
    action: Annotated[str, Meta(description="The operation's name.")]
    target: Annotated[str, Meta(description="On what: ids, never values.")]
    remote: Annotated[str, Meta(description="The address that it came from.")]
    request_id: Annotated[UUID | None, Meta(description="X-Request-Id of its answer.")]


class AuditPage(Wire):
    """Some lines, newest first."""

    lines: list[AuditRow]
    next_cursor: str | None


class AuditParams(Body):
    """Which lines."""

    actor: Annotated[str, Meta(max_length=100, description="Only what this one did.")] | None = None
    action: Annotated[str, Meta(max_length=100, description="Only this operation.")] | None = None
    target: Annotated[str, Meta(max_length=200, description="How the target begins.")] | None = None
    since: Annotated[datetime, Meta(tz=True, description="From this time on.")] | None = None
    until: Annotated[datetime, Meta(tz=True, description="Before this time.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[str, Meta(max_length=200, description="nextCursor of the page before.")] | None = None


async def list_audit_log(call: Call, params: AuditParams) -> AuditPage:
    """List lines of the audit log, newest first."""
    wanted = AuditFilter(
        actor=params.actor, action=params.action, target=params.target, since=params.since, until=params.until
    )
    before = None if params.cursor is None else read_cursor(params.cursor, tuple[datetime, int])
    lines = await list_audit(call.conn, call.customer_id, wanted, before=before, limit=params.limit + 1)
    shown = lines[: params.limit]
    return AuditPage(
        lines=[_show(line) for line in shown],
        next_cursor=write_cursor((shown[-1].at, shown[-1].id)) if len(lines) > params.limit else None,
    )


def _show(line: AuditLine) -> AuditRow:
    return AuditRow(
        id=line.id,
        at=line.at,
        actor=line.actor,
        action=line.action,
        target=line.target,
        remote=line.remote,
        request_id=line.request_id,
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/audit",
        handle=list_audit_log,
        summary="Read the audit log",
        text="Who did and who read what, when and from where; newest first. It is never changed.",
        tag="Audit log",
        scope=Scope.AUDIT_READ,
        params=AuditParams,
        answer=AuditPage,
    ),
)
