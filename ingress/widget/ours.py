"""What the widget knows and keeps of a client: who it is at the aggregator, its logins there and here. No page, no question."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bankfeed.aggregators import ListedAccount
from bankfeed.aggregators.linking import Linker, OfferedAccount
from bankfeed.db import Connection, Database, client, connection, source, widget, widget_login
from bankfeed.db.institution import Institution
from bankfeed.db.widget import WidgetSession
from bankfeed.db.widget_login import Login
from bankfeed.errors import NoSuchAccount, NotFound
from bankfeed.logs import get_logger
from bankfeed.model import ConnectionId, SourceId
from bankfeed.removal import add_again, note_enrolment


@dataclass(frozen=True, slots=True)
class Ours:
    """A session's client at one aggregator. `institution` is None where none is chosen yet."""

    database: Database
    linker: Linker
    session: WidgetSession
    connector: str
    institution: Institution | None

    # ------------------------------------------------------------------------------------------ the client there

    async def enrol(self) -> str | None:
        """Return who the client is at the aggregator, made its customer where it is none yet; None where no source is there.

        Raises AggregatorError, and NotFound where it was deleted meanwhile; then what was made there is removed.
        """
        customer_id, client_id = self.session.customer_id, self.session.client_id
        source_id = await self.find_source()
        if source_id is None:
            return None
        async with self.database.tenant(customer_id) as conn:
            known = dict(await client.list_customer_refs(conn, customer_id, client_id))
        if source_id in known:
            return known[source_id]
        ref = await self.linker.create_customer(f"bankfeed-{customer_id}-{client_id}")
        async with self.database.tenant(customer_id) as conn:
            is_there = await note_enrolment(conn, customer_id, client_id, source_id=source_id, customer_ref=ref)
        if not is_there:
            raise NotFound(f"there is no client {client_id}")
        return ref

    async def find_source(self) -> SourceId | None:
        """Return whose ids the client's logins there are; None where nobody has set that up."""
        async with self.database.queue() as conn:
            return await source.find_feed_source(conn, self.session.customer_id, self.connector)

    async def is_over(self) -> bool:
        """Tell whether the session ended while a call was under way: then nothing more may be done for it."""
        async with self.database.tenant(self.session.customer_id) as conn:
            found = await widget.find_session(conn, self.session.customer_id, self.session.id)
        return found is None or found.ended_at is not None

    # ------------------------------------------------------------------------------------------ its logins

    async def list_logins(self, *, and_unknown: bool = False) -> tuple[Login, ...]:
        """List the client's open connections at this institution; `and_unknown`: also those that may be."""
        async with self.database.tenant(self.session.customer_id) as conn:
            return await widget_login.list_logins(
                conn,
                self.session.customer_id,
                client_id=self.session.client_id,
                institution_id=self._institution.id,
                and_unknown=and_unknown,
            )

    async def list_logins_with_accounts(self) -> list[Login]:
        """List them with their accounts; of one whose first update is not done yet the aggregator tells.

        Raises AggregatorError.
        """
        found = []
        for each in await self.list_logins(and_unknown=True):
            login = await self._look_up(each) if each.is_fresh or each.institution_id is None else each
            found += [] if login is None else [login]
        return found

    async def _look_up(self, login: Login) -> Login | None:
        """Ask the aggregator for a login's accounts; None where it is at another institution."""
        if login.customer_ref is None:
            return None if login.institution_id is None else login
        try:
            listed = await self.linker.list_login_accounts(login.customer_ref, login.login_ref)
        except NoSuchAccount:
            return None if login.institution_id is None else login
        if any(each.institution_ref != self._institution.ref for each in listed):
            return None
        return replace(login, accounts=tuple((each.number_display, each.type) for each in listed))

    async def take_over(self, customer_ref: str, chosen: Sequence[OfferedAccount]) -> ConnectionId | None:
        """Keep logins that the aggregator has of the client at this institution and we have never heard of; return the last one."""
        try:
            listed = await self.linker.list_accounts(customer_ref)
        except NoSuchAccount:
            return None
        there = [each for each in listed if each.institution_ref == self._institution.ref]
        source_id = await self.find_source()
        async with self.database.tenant(self.session.customer_id) as conn:
            known = await widget_login.list_login_refs(
                conn, self.session.customer_id, self.session.client_id, source_id
            )
        wanted = {(each.number_display, each.type) for each in chosen if each.number_display.strip()}
        lost = {each.login_ref for each in there if (each.number_display, each.type) in wanted} - known
        if not lost:
            return None
        get_logger().warning("widget.taken_over", session_id=str(self.session.id), logins=len(lost))
        return await self.keep(customer_ref, [each for each in there if each.login_ref in lost])

    async def keep(self, customer_ref: str, listed: Sequence[ListedAccount]) -> ConnectionId | None:
        """Note logins that were linked, and ask for their first refresh, in one transaction; return the last one."""
        source_id = await self.find_source()
        assert source_id is not None
        async with self.database.tenant(self.session.customer_id) as conn:
            connection_id = None
            for login_ref in sorted({each.login_ref for each in listed}):
                refs = [each.account_ref for each in listed if each.login_ref == login_ref]
                connection_id = await self._keep_login(conn, source_id, customer_ref, login_ref, refs)
        return connection_id

    async def _keep_login(
        self, conn: Connection, source_id: SourceId, customer_ref: str, login_ref: str, account_refs: Sequence[str]
    ) -> ConnectionId:
        customer_id, client_id = self.session.customer_id, self.session.client_id
        added_at = await widget_login.get_clock(conn)
        connection_id = await connection.upsert_connection(
            conn, customer_id, client_id, source_id=source_id, login_ref=login_ref, added_at=added_at
        )
        await add_again(
            conn,
            customer_id,
            client_id,
            source_id=source_id,
            customer_ref=customer_ref,
            login_ref=login_ref,
            account_refs=account_refs,
            at=added_at,
        )
        await widget_login.ask_refresh(conn, customer_id, connection_id, institution_id=self._institution.id)
        return connection_id

    async def ask_refresh(self, login: Login, *, is_repair: bool = False) -> None:
        """Let the worker fetch what the bank said, so that the bank account shows it everywhere; `is_repair`: a person mended it."""
        async with self.database.tenant(self.session.customer_id) as conn:
            await widget_login.ask_refresh(conn, self.session.customer_id, login.connection_id, is_repair=is_repair)

    @property
    def _institution(self) -> Institution:
        assert self.institution is not None
        return self.institution
