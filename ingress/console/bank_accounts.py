"""One bank account: how it stands, what to do and to say, what happened to it; and the buttons that link, repair, refresh, delete."""

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from bankfeed import cases, removal
from bankfeed.db import bank_account, case, connection_history, sub_account
from bankfeed.db.bank_account import BankAccount
from bankfeed.db.widget import WidgetKind
from bankfeed.errors import NotFound
from bankfeed.health import ConnectionState
from bankfeed.history import describe_line
from bankfeed.jobs import Wake
from bankfeed.model import ClientId, ConnectionId
from bankfeed.repair import write_script
from ingress.api.refreshes import RefreshKind, ask_refresh
from ingress.console.door import Door, Visit, read_id, redirect
from ingress.console.words import describe_meaning
from ingress.widget.opening import Wanted, open_widget

MOST_ACCOUNTS: Final = 100
MOST_LINES: Final = 50
PATH: Final = "/console/bank-accounts/{id}"


class BankAccounts:
    """The pages of a bank account, and what their buttons do."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def add_routes(self, app: web.Application) -> None:
        """Serve the paths."""
        app.router.add_get(PATH, self._door.serve(self.show))
        app.router.add_get(f"{PATH}/delete", self._door.serve(self.confirm_delete))
        app.router.add_post("/console/link", self._door.serve(self.link))
        app.router.add_post("/console/repair", self._door.serve(self.repair))
        app.router.add_post("/console/refresh", self._door.serve(self.refresh))
        app.router.add_post("/console/delete", self._door.serve(self.delete))

    async def show(self, request: web.Request) -> web.Response:
        """Show one bank account."""
        async with self._door.enter(request) as visit:
            if visit is None:
                return redirect("/sign-in")
            found = await _get(visit, request.match_info["id"])
            before_id = read_id(request.query["before"]) if "before" in request.query else None
            conn, customer_id = visit.conn, visit.customer_id
            subject = await cases.get_subject(conn, customer_id, found.id)
            meaning, bank = cases.read_meaning(subject), cases.read_bank(subject)
            lines = await connection_history.list_history(
                conn, customer_id, found.id, before_id=before_id, limit=MOST_LINES + 1
            )
            accounts = await sub_account.list_sub_accounts(
                conn, customer_id, client_id=None, connection_id=found.id, after_id=0, limit=MOST_ACCOUNTS
            )
            return self._door.page(
                "bank_account.html",
                may_write=visit.may_write and not found.is_client_locked,
                account=found,
                standing=describe_meaning(ConnectionState(found.state), meaning),
                meaning=meaning,
                bank=bank,
                accounts=accounts,
                lines=[(line, describe_line(line.kind, line.status_code)) for line in lines[:MOST_LINES]],
                older_than=lines[MOST_LINES - 1].id if len(lines) > MOST_LINES else None,
                repairs=await connection_history.count_repairs(conn, customer_id, found.id),
                case_id=await case.find_open_case(conn, customer_id, found.id),
                script=write_script(meaning, bank, since=subject.status_since),
            )

    async def confirm_delete(self, request: web.Request) -> web.Response:
        """Ask whether a bank account is to be deleted, and say what stays."""
        async with self._door.enter(request) as visit:
            if visit is None:
                return redirect("/sign-in")
            if not visit.may_write:
                return self._door.refuse_reader()
            return self._door.page("delete.html", account=await _get(visit, request.match_info["id"]))

    async def link(self, request: web.Request) -> web.Response:
        """Open the widget in which a bank is linked for a client."""

        async def do(visit: Visit, form: Mapping[str, str]) -> web.Response:
            client_id = ClientId(read_id(form.get("clientId", "")))
            visit.target = f"clientId={client_id}"
            return await self._open(
                visit, Wanted(kind=WidgetKind.ADD, client_id=client_id, requested_by=visit.caller.actor)
            )

        return await self._door.act(request, "openAddWidget", do)

    async def repair(self, request: web.Request) -> web.Response:
        """Open the widget in which a bank account is repaired."""

        async def do(visit: Visit, form: Mapping[str, str]) -> web.Response:
            connection_id = _read_target(visit, form)
            return await self._open(
                visit, Wanted(kind=WidgetKind.FIX, connection_id=connection_id, requested_by=visit.caller.actor)
            )

        return await self._door.act(request, "openFixWidget", do)

    async def refresh(self, request: web.Request) -> web.Response:
        """Ask the bank now; the row shows how that goes."""

        async def do(visit: Visit, form: Mapping[str, str]) -> web.Response:
            found = await _get(visit, str(_read_target(visit, form)))
            asked = await ask_refresh(
                visit.conn, visit.customer_id, found, RefreshKind.CURRENT, requested_by=visit.caller.actor
            )
            if asked.finished_at is None:
                visit.wakes.add(Wake.BANK_REFRESH)
            return redirect(f"/console#connection-{found.id}")

        return await self._door.act(request, "refreshBankAccount", do)

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a bank account, here at once and at the aggregator soon."""

        async def do(visit: Visit, form: Mapping[str, str]) -> web.Response:
            await removal.delete_bank_account(visit.conn, visit.customer_id, _read_target(visit, form))
            visit.wakes |= {Wake.REMOVE, Wake.DELIVER}
            return redirect("/console")

        return await self._door.act(request, "deleteBankAccount", do)

    async def _open(self, visit: Visit, wanted: Wanted) -> web.Response:
        """Make a widget's address and lead there.

        The address is a path of this very site, and so within the page's policy for forms. An aggregator's own widget is not,
        and browsers hold a redirect after a form to that policy: a link leads there.
        """
        settings = self._door.settings
        opened = await open_widget(visit.conn, settings, visit.customer_id, wanted, base="")
        if settings.finicity_widget == "own":
            return redirect(opened.url)
        return self._door.page("go_on.html", address=opened.url)


async def _get(visit: Visit, named: str) -> BankAccount:
    found = await bank_account.find_bank_account(visit.conn, visit.customer_id, ConnectionId(read_id(named)))
    if found is None:
        raise NotFound(f"there is no bank account {named}")
    return found


def _read_target(visit: Visit, form: Mapping[str, str]) -> ConnectionId:
    connection_id = ConnectionId(read_id(form.get("bankAccountId", "")))
    visit.target = f"bankAccountId={connection_id}"
    return connection_id
