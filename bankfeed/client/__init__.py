"""The Python client of Bankfeed's REST API: async, typed; pages and changes as iterators; every request safe to lose.

    async with await Bankfeed.sign_in("https://feeds.firm.example", email="ann@firm.example", password=...) as feeds:
        async for transaction in feeds.transactions(client_id=12):
            ...

It needs nothing of the server's settings, and stands on aiohttp and msgspec alone.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Self, TypeVar

import msgspec

from bankfeed.client.public_keys import fetch_public_keys
from bankfeed.client.things import (
    BankAccount,
    Case,
    Changes,
    Client,
    Delivery,
    Endpoint,
    HistoryLine,
    Institution,
    InstitutionNotice,
    Refresh,
    Session,
    SubAccount,
    Thing,
    Transaction,
)
from bankfeed.client.transport import ApiError, Transport
from bankfeed.client.webhooks import BadSignature, Event, TransactionCounts, read_webhook

__all__ = [
    "ApiError",
    "BadSignature",
    "BankAccount",
    "Bankfeed",
    "Case",
    "Changes",
    "Client",
    "Delivery",
    "Endpoint",
    "Event",
    "HistoryLine",
    "Institution",
    "InstitutionNotice",
    "Refresh",
    "Session",
    "SubAccount",
    "Transaction",
    "TransactionCounts",
    "fetch_public_keys",
    "read_webhook",
]

TIMEOUT_S: Final = 60.0
WAIT_S: Final = 25  # of one look at a refresh; the server waits that long before it answers
PAGE: Final = 1_000

Found = TypeVar("Found", bound=Thing)


class Bankfeed:
    """A signed-in caller. `token` is a person's token or a machine's key; every method raises ApiError."""

    def __init__(self, url: str, token: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._transport = Transport(url, token, timeout_s=timeout_s)

    @classmethod
    async def sign_in(cls, url: str, *, email: str, password: str, timeout_s: float = TIMEOUT_S) -> Self:
        """Sign in with an e-mail address and a password."""
        transport = Transport(url, None, timeout_s=timeout_s)
        try:
            raw = await transport.ask("POST", "/authenticate", body={"email": email, "password": password})
        finally:
            await transport.close()
        return cls(url, msgspec.json.decode(raw, type=Session).token, timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Safe to repeat."""
        await self._transport.close()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        version: int | None = None,
    ) -> Any:
        """Make any request below /api/v1 and return its JSON; amounts stay texts. For what has no method here."""
        raw = await self._transport.ask(method, path, query=query, body=body, version=version)
        return msgspec.json.decode(raw)

    # ---------------------------------------------------------------------------------------------------- clients, banks

    async def add_client(self, username: str, name: str, **more: Any) -> Client:
        """Add a client; `more` is email, phone, preferences."""
        body = {"username": username, "name": name, **more}
        return await self._one("POST", "/clients", "client", Client, body=body)

    async def get_client(self, client_id: int) -> Client:
        """Get a client."""
        return await self._one("GET", f"/clients/{client_id}", "client", Client)

    def clients(self, *, search: str | None = None) -> AsyncIterator[Client]:
        """Iterate over all clients, or those that a search finds."""
        return self._pages("/clients", "clients", Client, search=search)

    def institutions(self, search: str) -> AsyncIterator[Institution]:
        """Iterate over the institutions that a name or a URL finds, the best first."""
        return self._pages("/institutions", "institutions", Institution, search=search)

    def institution_notices(self) -> AsyncIterator[InstitutionNotice]:
        """Iterate over the institutions that are out of order or migrate, with the clients whom that concerns."""
        return self._pages("/institutions/notices", "notices", InstitutionNotice)

    def bank_accounts(self, *, client_id: int | None = None) -> AsyncIterator[BankAccount]:
        """Iterate over the logins of a client, or of all."""
        return self._pages("/bank-accounts", "bankAccounts", BankAccount, clientId=client_id)

    def history(self, bank_account_id: int) -> AsyncIterator[HistoryLine]:
        """Iterate over what happened to a login, the newest first."""
        return self._pages(f"/bank-accounts/{bank_account_id}/history", "history", HistoryLine)

    def sub_accounts(self, *, client_id: int | None = None) -> AsyncIterator[SubAccount]:
        """Iterate over the accounts of a client, or of all."""
        return self._pages("/sub-accounts", "subAccounts", SubAccount, clientId=client_id)

    async def refresh(self, bank_account_id: int) -> Refresh:
        """Have the bank asked for what is new; one that runs already is returned."""
        return await self._one("POST", f"/bank-accounts/{bank_account_id}/refresh", "refresh", Refresh)

    async def refresh_historic(self, bank_account_id: int) -> Refresh:
        """Have the bank asked for up to 24 months; where that was done, its result is returned."""
        return await self._one("POST", f"/bank-accounts/{bank_account_id}/refresh-historic", "refresh", Refresh)

    async def wait_for(self, refresh: Refresh) -> Refresh:
        """Wait until a refresh is over; it goes on by itself, whether or not anybody waits."""
        while not refresh.is_over:
            refresh = await self._one("GET", f"/refreshes/{refresh.id}", "refresh", Refresh, query={"waitS": WAIT_S})
        return refresh

    async def add_widget(self, client_id: int, *, institution_id: int | None = None, **more: Any) -> str:
        """Return the address of a widget in which the client links a bank, or this one; `more` is redirectUri, webhook."""
        body = {"clientId": client_id, **more}
        if institution_id is None:
            return str((await self.ask("POST", "/widgets/add", body=body))["widgetUrl"])
        return str(
            (await self.ask("POST", "/widgets/add-lite", body=body | {"institutionId": institution_id}))["widgetUrl"]
        )

    async def fix_widget(self, bank_account_id: int, **more: Any) -> str:
        """Return the address of a widget that repairs a login."""
        answer = await self.ask("POST", "/widgets/fix", body={"bankAccountId": bank_account_id, **more})
        return str(answer["widgetUrl"])

    def cases(self, **filters: Any) -> AsyncIterator[Case]:
        """Iterate over support cases, newest first; filters are those of GET /cases, as on the wire."""
        return self._pages("/cases", "cases", Case, **filters)

    async def open_case(self, bank_account_id: int, telephone: str, **more: Any) -> Case:
        """Open a support case, or get the open one; `more` is convenientTime, note, tried."""
        body = {"bankAccountId": bank_account_id, "telephone": telephone, **more}
        return await self._one("POST", "/cases", "case", Case, body=body)

    async def close_case(self, case_id: int, note: str = "") -> Case:
        """Close a support case."""
        return await self._one("POST", f"/cases/{case_id}/close", "case", Case, body={"note": note})

    # ----------------------------------------------------------------------------------------------------- transactions

    def transactions(self, *, client_id: int, **filters: Any) -> AsyncIterator[Transaction]:
        """Iterate over a client's transactions, newest first; filters are those of GET /transactions, as on the wire."""
        return self._pages("/transactions", "transactions", Transaction, clientId=client_id, **filters)

    async def changes(self, *, client_id: int, cursor: str | None = None) -> AsyncIterator[Changes]:
        """Iterate over what changed since a cursor, a page at a time, until up to date; None is from the beginning.

        Write each page and its `next_cursor` in one transaction of your own: then nothing is missed and nothing doubled.
        """
        while True:
            query = {"clientId": client_id, "cursor": cursor, "limit": PAGE}
            raw = await self._transport.ask("GET", "/transactions/changes", query=query)
            page = msgspec.json.decode(raw, type=Changes)
            yield page
            if not page.has_more:
                return
            cursor = page.next_cursor

    async def act(self, transaction_id: int, act: str, **body: Any) -> int:
        """Do what a person does with a transaction ("link", "reconcile", "split" ...); return the act's id, to undo it."""
        answer = await self.ask("POST", f"/transactions/{transaction_id}/{act}", body=body or None)
        act_id: int = answer["actId"]
        return act_id

    async def undo(self, act_id: int) -> None:
        """Take an act back."""
        await self.ask("POST", f"/acts/{act_id}/undo")

    # --------------------------------------------------------------------------------------------------------- webhooks

    async def add_endpoint(self, url: str, event_types: list[str], *, description: str = "") -> tuple[Endpoint, str]:
        """Add an endpoint; return it and its secret, which is shown this once."""
        body = {"url": url, "eventTypes": event_types, "description": description}
        raw = await self._transport.ask("POST", "/webhook-endpoints", body=body)
        answer = msgspec.json.decode(raw)
        return msgspec.convert(answer["webhookEndpoint"], Endpoint), answer["secret"]

    def deliveries(self, **filters: Any) -> AsyncIterator[Delivery]:
        """Iterate over deliveries, newest first; filters are those of GET /deliveries, as on the wire."""
        return self._pages("/deliveries", "deliveries", Delivery, **filters)

    async def replay(self, endpoint_id: int, **which: Any) -> int:
        """Have events delivered to an endpoint again, under their own ids; return how many were queued.

        `which` is the body of POST /webhook-endpoints/{endpointId}/replay, as on the wire. It is asked batch by batch: one
        that ends early may be asked again, and doubles nothing that waits.
        """
        queued: int = 0
        going_on: dict[str, str] = {}
        while True:
            answer = await self.ask("POST", f"/webhook-endpoints/{endpoint_id}/replay", body=which | going_on)
            queued += answer["replay"]["count"]
            if answer["resumeCursor"] is None:
                return queued
            going_on = {"cursor": answer["resumeCursor"]}

    # ------------------------------------------------------------------------------------------------------------ below

    async def _one(self, method: str, path: str, noun: str, found: type[Found], **more: Any) -> Found:
        raw = await self._transport.ask(method, path, **more)
        return msgspec.json.decode(msgspec.json.decode(raw, type=dict[str, msgspec.Raw])[noun], type=found)

    async def _pages(self, path: str, noun: str, found: type[Found], **query: Any) -> AsyncIterator[Found]:
        cursor = None
        while True:
            raw = await self._transport.ask("GET", path, query={**query, "cursor": cursor})
            answer = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
            for thing in msgspec.json.decode(answer[noun], type=list[found]):  # type: ignore[valid-type]
                yield thing
            cursor = msgspec.json.decode(answer["nextCursor"], type=str | None)
            if cursor is None:
                return
