"""What the firm's staff has to see to: open support cases with the sentence to say, and banks in trouble with whom that concerns."""

from collections.abc import Mapping
from itertools import groupby
from typing import Final

from aiohttp import web

from bankfeed import cases
from bankfeed.cases import MAX_NOTE_CHARS
from bankfeed.db import case
from bankfeed.db.case import ActionId, CaseId, CaseState, SupportCase
from bankfeed.db.client import get_client
from bankfeed.db.institution_notice import list_affected_clients
from bankfeed.jobs import Wake
from ingress.api.case_rows import show_case
from ingress.console.door import Door, Visit, read_id, redirect
from ingress.console.words import describe_tried

MOST_CASES: Final = 25
MOST_AFFECTED: Final = 200


class Cases:
    """The pages of cases and of banks in trouble."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def add_routes(self, app: web.Application) -> None:
        """Serve the paths."""
        app.router.add_get("/console/cases", self._door.serve(self.show_cases))
        app.router.add_post("/console/cases/done", self._door.serve(self.finish_action))
        app.router.add_post("/console/cases/close", self._door.serve(self.close_case))
        app.router.add_get("/console/banks", self._door.serve(self.show_banks))

    async def show_cases(self, request: web.Request) -> web.Response:
        """Show the open cases, the newest first."""
        async with self._door.enter(request) as visit:
            if visit is None:
                return redirect("/sign-in")
            before_id = read_id(request.query["before"]) if "before" in request.query else None
            found = await case.list_cases(
                visit.conn, visit.customer_id, state=CaseState.OPEN, before_id=before_id, limit=MOST_CASES + 1
            )
            return self._door.page(
                "cases.html",
                may_write=visit.may_write,
                cases=[await _read_case(visit, each) for each in found[:MOST_CASES]],
                older_than=found[MOST_CASES - 1].id if len(found) > MOST_CASES else None,
                most_note_chars=MAX_NOTE_CHARS,
            )

    async def finish_action(self, request: web.Request) -> web.Response:
        """Note that something about a case was done."""

        async def do(visit: Visit, form: Mapping[str, str]) -> web.Response:
            case_id = _read_target(visit, form)
            action_id = ActionId(read_id(form.get("actionId", "")))
            visit.target += f" actionId={action_id}"
            await cases.finish_action(
                visit.conn, self._door.settings, visit.customer_id, case_id, action_id, by=visit.caller.actor
            )
            return redirect(f"/console/cases#case-{case_id}")

        return await self._door.act(request, "updateCaseAction", do)

    async def close_case(self, request: web.Request) -> web.Response:
        """Close a case, with a note."""

        async def do(visit: Visit, form: Mapping[str, str]) -> web.Response:
            case_id, note = _read_target(visit, form), form.get("note", "")
            await cases.close_case(
                visit.conn, self._door.settings, visit.customer_id, case_id, by=visit.caller.actor, note=note
            )
            return redirect("/console/cases")

        return await self._door.act(request, "closeCase", do)

    async def show_banks(self, request: web.Request) -> web.Response:
        """Show the institutions that are out of order or migrate, each with the clients whom that concerns."""
        async with self._door.enter(request) as visit:
            if visit is None:
                return redirect("/sign-in")
            found = await list_affected_clients(visit.conn, visit.customer_id, after=(0, 0), limit=MOST_AFFECTED + 1)
            return self._door.page(
                "banks.html",
                banks=[list(rows) for _, rows in groupby(found[:MOST_AFFECTED], key=lambda each: each.institution_id)],
                has_more=len(found) > MOST_AFFECTED,
            )


async def _read_case(visit: Visit, found: SupportCase) -> dict[str, object]:
    """Gather what a case's card shows."""
    actions = await case.list_actions(visit.conn, visit.customer_id, found.id)
    return {
        "case": show_case(found, actions).case,
        "client": (await get_client(visit.conn, visit.customer_id, found.client_id)).name,
        "tried": describe_tried(found),
    }


def _read_target(visit: Visit, form: Mapping[str, str]) -> CaseId:
    visit.wakes |= {Wake.DELIVER, Wake.MAIL}
    case_id = CaseId(read_id(form.get("caseId", "")))
    visit.target = f"caseId={case_id}"
    return case_id
