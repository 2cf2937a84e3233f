"""The demo: a firm with one client, whose bank is Finbank. Made through the functions and the HTTP that everybody uses.

Safe to repeat: what is there stays as it is, so that a second start goes on where the first one ended.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import orjson
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from bankfeed.aggregators import Aggregator, ListedAccount
from bankfeed.db import Database
from bankfeed.db.account import list_account_states
from bankfeed.db.client import find_client_by_username, insert_client, upsert_enrolment
from bankfeed.db.connection import ConnectionLine, list_connection_lines
from bankfeed.db.customer import insert_customer
from bankfeed.db.endpoint import find_endpoint_by_description, lock_endpoint, update_subscription
from bankfeed.db.notification import Wishes, update_wishes
from bankfeed.db.user import find_user, insert_user
from bankfeed.door import send
from bankfeed.endpoints import NewEndpoint, add_endpoint, rotate
from bankfeed.errors import Unavailable
from bankfeed.model import AccountId, ClientId, CustomerId, EventType, SourceId
from bankfeed.sealing import Sealer

FIRM: Final = "Demo Bookkeeping"
EMAIL: Final = "demo@bankfeed.example"
CLIENT: Final = "demo-client"
ENDPOINT: Final = "bankfeed listen"
INSTITUTION_ID: Final = 101732  # FinBank
BANK_LOGIN: Final = {"username": "demo", "password": "go"}
ARRIVAL_LIMIT_S: Final = 60.0  # the lease of a killed worker has ended by then
POLL_S: Final = 0.05
MOST_LINES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Firm:
    """The demo's customer. `customer_ref` is its client at the aggregator; `knows_password` whether ours lets in."""

    customer_id: CustomerId
    client_id: ClientId
    customer_ref: str
    knows_password: bool


async def make_firm(database: Database, aggregator: Aggregator, source_id: SourceId, *, password: str) -> Firm:
    """Make the firm, its user and its client, and enrol the client at the aggregator. Safe to repeat."""
    customer_id, knows_password = await _make_customer(database, password)
    customer_ref = await aggregator.create_customer(CLIENT)
    async with database.tenant(customer_id) as conn:
        client_id = await find_client_by_username(conn, customer_id, CLIENT)
        if client_id is None:
            client_id = await insert_client(conn, customer_id, username=CLIENT, name="Demo Client")
        await upsert_enrolment(conn, customer_id, client_id, source_id=source_id, customer_ref=customer_ref)
    return Firm(customer_id=customer_id, client_id=client_id, customer_ref=customer_ref, knows_password=knows_password)


async def make_endpoint(database: Database, firm: Firm, *, sealer: Sealer, url: str, secret: str) -> None:
    """Make the endpoint that `bankfeed listen` answers for, wanting every event. Safe to repeat."""
    async with database.tenant(firm.customer_id) as conn:
        endpoint_id = await find_endpoint_by_description(conn, firm.customer_id, ENDPOINT)
        if endpoint_id is None:
            new = NewEndpoint(url=url, secret=secret, event_types=tuple(EventType), description=ENDPOINT)
            await add_endpoint(conn, sealer, firm.customer_id, new)
            return
        found = await lock_endpoint(conn, firm.customer_id, endpoint_id)
        await update_subscription(conn, firm.customer_id, endpoint_id, replace(found.subscription, url=url))
        await rotate(conn, sealer, firm.customer_id, endpoint_id, secret=secret, overlap_hours=0)


async def link_bank(aggregator: Aggregator, firm: Firm, *, finbank_url: str, control_token: str) -> bool:
    """Link the client's bank, as the widget would. Returns False where it is linked already."""
    if await aggregator.list_accounts(firm.customer_ref):
        return False
    link = {"customerId": firm.customer_ref, "institutionId": INSTITUTION_ID, **BANK_LOGIN}
    headers = {"Authorization": f"Bearer {control_token}", "Content-Type": "application/json"}
    answer = await send(f"{finbank_url}/finbank/link", orjson.dumps(link), headers)
    if not answer.is_accepted:
        raise Unavailable(f"Finbank did not link the demo's bank: {answer.status} {answer.body}")
    return True


async def announce(accounts: Sequence[ListedAccount], address: str) -> None:
    """Tell ingress of accounts at its LedgerSync door, where the bank's own announcement cannot be counted on."""
    event = {
        "eventType": EventType.ACCOUNT_ADDED,
        "eventId": str(uuid4()),
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "payload": {"accounts": [account.account_ref for account in accounts]},
    }
    answer = await send(address, orjson.dumps(event), {})
    if not answer.is_accepted:
        raise Unavailable(f"ingress did not take the demo's event: {answer.status} {answer.body}")


async def list_connections(database: Database, firm: Firm) -> tuple[ConnectionLine, ...]:
    """List the demo's connections."""
    async with database.tenant(firm.customer_id) as conn:
        return await list_connection_lines(conn, firm.customer_id, limit=MOST_LINES)


async def count_accounts(database: Database, firm: Firm) -> int:
    """Count the demo's open accounts, as far as they have come in."""
    return sum(line.accounts for line in await list_connections(database, firm))


async def wait_for_accounts(database: Database, firm: Firm, *, count: int, check: Callable[[], None]) -> None:
    """Wait until the worker has pulled so many accounts; `check` raises where waiting is in vain. Raises Unavailable."""
    try:
        async with asyncio.timeout(ARRIVAL_LIMIT_S):
            while await count_accounts(database, firm) < count:
                check()
                await asyncio.sleep(POLL_S)
    except TimeoutError as error:
        raise Unavailable(f"the demo's accounts have not arrived within {ARRIVAL_LIMIT_S:.0f} s") from error


async def find_account_names(
    database: Database, firm: Firm, listed: Sequence[ListedAccount]
) -> Mapping[AccountId, str]:
    """Map our ids of the demo's accounts to their names at the bank."""
    names = {account.account_ref: account.name for account in listed}
    ours: dict[AccountId, str] = {}
    for line in await list_connections(database, firm):
        async with database.tenant(firm.customer_id) as conn:
            states = await list_account_states(conn, firm.customer_id, line.id)
        ours |= {state.id: names[state.account_ref] for state in states if state.account_ref in names}
    return ours


async def _make_customer(database: Database, password: str) -> tuple[CustomerId, bool]:
    async with database.app() as conn:
        user = await find_user(conn, EMAIL)
        if user is not None:
            return user.customer_id, user.password_hash is not None and _is_password(user.password_hash, password)
        customer_id = await insert_customer(conn, name=FIRM, shadow_policy="show")
        await insert_user(conn, customer_id, email=EMAIL, password_hash=PasswordHasher().hash(password))
        await update_wishes(conn, customer_id, Wishes(email=EMAIL, every_hours=1, clients_every_hours=None))
    return customer_id, True


def _is_password(password_hash: str, password: str) -> bool:
    try:
        return PasswordHasher().verify(password_hash, password)
    except VerificationError:
        return False
