"""What one look at a customer reads from Postgres: bounded, and by the customer's own rule for shadow rows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bankfeed.db import Connection
from bankfeed.db.console import (
    ShownAccount,
    ShownClient,
    ShownConnection,
    ShownTransaction,
    get_shown_firm,
    list_shown_accounts,
    list_shown_clients,
    list_shown_connections,
    list_shown_transactions,
)
from bankfeed.model import AccountId, ClientId, ConnectionId, CustomerId, ShadowPolicy
from bankfeed.reconcile.policy import is_shadow_shown

MOST_CLIENTS = 100
MOST_CONNECTIONS = 100
MOST_ACCOUNTS = 200
MOST_TRANSACTIONS = 100
REMOVED_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What the page shows. `withdrawn_rows` counts shadow rows among the latest that the customer does not want listed."""

    firm: str
    clients: Sequence[ShownClient]
    connections_of: Mapping[ClientId, Sequence[ShownConnection]]
    accounts: Mapping[AccountId, ShownAccount]
    accounts_of: Mapping[ConnectionId, Sequence[ShownAccount]]
    transactions: Sequence[ShownTransaction]
    withdrawn_rows: int


async def read_overview(conn: Connection, customer_id: CustomerId) -> Overview:
    """Read a customer's page, in the customer's transaction."""
    firm = await get_shown_firm(conn, customer_id)
    clients = await list_shown_clients(conn, customer_id, limit=MOST_CLIENTS)
    connections = await list_shown_connections(conn, customer_id, limit=MOST_CONNECTIONS)
    ids = [connection.id for connection in connections]
    accounts = await list_shown_accounts(conn, customer_id, ids, limit=MOST_ACCOUNTS)
    latest = await list_shown_transactions(
        conn, customer_id, [account.id for account in accounts], removed_s=REMOVED_S, limit=MOST_TRANSACTIONS
    )
    accounts_of, connections_of = defaultdict(list), defaultdict(list)
    for connection in connections:
        connections_of[connection.client_id].append(connection)
    for account in accounts:
        accounts_of[account.connection_id].append(account)
    listed = [row for row in latest if _is_shown(row, firm.shadow_policy)]
    return Overview(
        firm=firm.name,
        clients=clients,
        connections_of=connections_of,
        accounts={account.id: account for account in accounts},
        accounts_of=accounts_of,
        transactions=listed,
        withdrawn_rows=len(latest) - len(listed),
    )


def _is_shown(row: ShownTransaction, policy: ShadowPolicy) -> bool:
    return row.state != "shadow" or is_shadow_shown(policy, has_act=row.has_act, verdict=row.shadow_verdict)
