"""Reading the facts: what the database holds in the end, and what Finbank lists. It looks, as a superuser; it changes nothing."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import asyncpg
import orjson

from tests.torture.account import Account, Client, Connection, Facts, Row, Stored, Told
from tests.torture.post import key_of

if TYPE_CHECKING:
    from tests.torture.bank import Life
    from tests.torture.house import House

# What the product does not keep: every change number that it gave, which commit each came from, and each step of a
# connection's counters that is neither a request, nor a claim (requested copied, with a new lease), nor an end (claimed copied).
JOURNAL = """
CREATE TABLE journal (customer_id bigint, client_id bigint, account_id bigint, change_no bigint, cause text,
                      is_seen boolean);
CREATE TABLE causes (event_id uuid, cause text);
CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    IF TG_OP = 'INSERT' OR OLD.change_no <> NEW.change_no THEN
        INSERT INTO journal
        VALUES (NEW.customer_id, NEW.client_id, NEW.account_id, NEW.change_no, pg_current_xact_id()::text,
                TG_OP = 'INSERT' OR (OLD.state, OLD.amount, OLD.transacted_on, OLD.description)
                                    IS DISTINCT FROM (NEW.state, NEW.amount, NEW.transacted_on, NEW.description));
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION note_cause() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    INSERT INTO causes VALUES (NEW.event_id, pg_current_xact_id()::text);
    RETURN NULL;
END $$;
CREATE TABLE breaches (said text);
CREATE FUNCTION note_breach() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    IF NEW.requested < OLD.requested
       OR NEW.claimed <> OLD.claimed AND (NEW.claimed <> NEW.requested OR NEW.lease_token IS NOT DISTINCT FROM OLD.lease_token)
       OR NEW.handled <> OLD.handled AND (NEW.handled <> OLD.claimed OR OLD.lease_token IS NULL) THEN
        INSERT INTO breaches VALUES (format('connection %s went from %s/%s/%s to %s/%s/%s (requested/claimed/handled)',
            NEW.aggregator_login_id, OLD.requested, OLD.claimed, OLD.handled, NEW.requested, NEW.claimed, NEW.handled));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER note_breach AFTER UPDATE ON connections FOR EACH ROW EXECUTE FUNCTION note_breach();
CREATE TRIGGER note_change AFTER INSERT OR UPDATE ON transactions FOR EACH ROW EXECUTE FUNCTION note_change();
CREATE TRIGGER note_cause AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION note_cause();
"""


async def count_waiting(conn: asyncpg.Connection) -> dict[str, int]:
    """Count what is not done yet, by kind."""
    row = await conn.fetchrow(
        """
        SELECT (SELECT count(*) FROM inbox WHERE state = 'waiting') AS inbox,
               (SELECT count(*) FROM connections WHERE handled < requested) AS connections,
               (SELECT count(*) FROM delivery_queue) AS deliveries
        """
    )
    return dict(row)


async def count_done(conn: asyncpg.Connection) -> dict[str, int]:
    """Count what is done, by kind."""
    row = await conn.fetchrow(
        """
        SELECT (SELECT count(*) FROM inbox WHERE state <> 'waiting') AS processed,
               (SELECT count(*) FROM deliveries WHERE state = 'delivered') AS delivered,
               (SELECT count(*) FROM pulls) AS pulls
        """
    )
    return dict(row)


async def read_facts(house: "House", life: "Life") -> Facts:
    """Read everything that the account compares."""
    conn = await house.connect()
    try:
        refs = {row["id"]: row["ref"] for row in await conn.fetch("SELECT id, aggregator_id AS ref FROM accounts")}
        breaches = [row["said"] for row in await conn.fetch("SELECT DISTINCT said FROM breaches ORDER BY said LIMIT 5")]
        journal = await conn.fetch("SELECT DISTINCT cause, account_id, is_seen FROM journal")
        return Facts(
            sent=[event.sent() for event in house.post.events.values()],
            stored=await _read_stored(conn),
            connections=await _read_connections(conn, life),
            accounts=await _read_accounts(conn, house, life),
            clients=await _read_clients(conn),
            told=await _read_told(conn, refs),
            receipts=house.listener.receipts(),
            changed=frozenset((row["cause"], refs[row["account_id"]]) for row in journal if row["is_seen"]),
            touched=frozenset((row["cause"], refs[row["account_id"]]) for row in journal),
            linked=frozenset(str(ref) for ref in life.linked),
            gone=frozenset(str(ref) for ref in life.deleted),
            leases=await _count_leases(conn),
            waiting=sum((await count_waiting(conn)).values()),
            complaints=[*house.complaints(), *breaches],
        )
    finally:
        await conn.close()


async def _read_stored(conn: asyncpg.Connection) -> list[Stored]:
    rows = await conn.fetch("SELECT body, state::text, reason, event_type, login_refs, account_refs FROM inbox")
    return [
        Stored(
            key=key_of(row["body"]),
            state=row["state"],
            reason=row["reason"],
            refs=frozenset((*row["login_refs"], *row["account_refs"])),
            is_idle=row["event_type"] is None,
        )
        for row in rows
    ]


async def _read_connections(conn: asyncpg.Connection, life: "Life") -> list[Connection]:
    refs = {str(link.login_id): frozenset(map(str, (link.login_id, *link.accounts.values()))) for link in life.links}
    rows = await conn.fetch(
        """
        SELECT aggregator_login_id AS ref, state::text, requested, claimed, handled, lease_token IS NOT NULL AS has_lease
        FROM connections ORDER BY id
        """
    )
    return [Connection(**row, refs=refs[row["ref"]]) for row in rows]


async def _read_accounts(conn: asyncpg.Connection, house: "House", life: "Life") -> list[Account]:
    shown: dict[str, list[Row]] = {}
    ids: dict[str, list[str]] = {}
    for row in await _read_rows(conn):
        if not row["is_merged"]:  # one that was joined to another keeps the ids that it brought
            ids.setdefault(row["ref"], []).extend({row["id"], *row["aliases"]} - {None})
        if row["state"] in ("pending", "active"):
            shown.setdefault(row["ref"], []).append(Row(id=row["id"], state=row["state"], amount=row["amount"]))
    accounts = await conn.fetch("SELECT aggregator_id AS ref, state::text FROM accounts ORDER BY id")
    made = []
    for row in accounts:
        truth = None if int(row["ref"]) in life.deleted else await house.finbank.truth(int(row["ref"]))
        listed = truth and truth["rows"]
        made.append(
            Account(
                ref=row["ref"],
                is_closed=row["state"] == "closed",
                shown=tuple(shown.get(row["ref"], ())),
                listed=None if listed is None else tuple(_listed(each) for each in listed),
                ids=tuple(ids.get(row["ref"], ())),
                movements={str(each["id"]): each["movement"] for each in listed or ()},
            )
        )
    return made


async def _read_rows(conn: asyncpg.Connection) -> Sequence[Any]:
    rows: Sequence[Any] = await conn.fetch(
        """
        SELECT a.aggregator_id AS ref, t.aggregator_id AS id, t.state::text, t.amount, t.merged_into IS NOT NULL AS is_merged,
               ARRAY(SELECT x.aggregator_id FROM transaction_aliases x
                     WHERE x.customer_id = t.customer_id AND x.transaction_id = t.id) AS aliases
        FROM transactions t JOIN accounts a ON a.customer_id = t.customer_id AND a.id = t.account_id
        ORDER BY t.id
        """
    )
    return rows


def _listed(row: Any) -> Row:
    return Row(id=str(row["id"]), state=row["status"], amount=Decimal(row["amount"]))


async def _read_clients(conn: asyncpg.Connection) -> list[Client]:
    rows = await conn.fetch(
        """
        SELECT client_id::text AS name, last_change_no AS last,
               ARRAY(SELECT change_no FROM journal j
                     WHERE j.customer_id = c.customer_id AND j.client_id = c.client_id ORDER BY change_no) AS numbers
        FROM change_counters c ORDER BY client_id
        """
    )
    return [Client(name=row["name"], last=row["last"], numbers=tuple(row["numbers"])) for row in rows]


async def _read_told(conn: asyncpg.Connection, refs: dict[int, str]) -> list[Told]:
    rows = await conn.fetch(
        """
        SELECT e.event_id::text, e.event_type::text, e.body, coalesce(min(c.cause), '') AS cause,
               coalesce(array_agg(d.state::text) FILTER (WHERE d.id IS NOT NULL), '{}') AS states
        FROM events e
        LEFT JOIN causes c ON c.event_id = e.event_id
        LEFT JOIN deliveries d ON d.customer_id = e.customer_id AND d.outbox_id = e.id AND d.created_at = e.created_at
        GROUP BY e.customer_id, e.id, e.created_at ORDER BY e.id
        """
    )
    return [
        Told(
            event_id=row["event_id"],
            event_type=row["event_type"],
            body=row["body"],
            accounts=tuple(refs[each] for each in orjson.loads(row["body"])["payload"]["accounts"]),
            states=tuple(row["states"]),
            cause=row["cause"],
        )
        for row in rows
    ]


async def _count_leases(conn: asyncpg.Connection) -> int:
    count: int = await conn.fetchval(
        """
        SELECT (SELECT count(*) FROM inbox WHERE lease_token IS NOT NULL)
             + (SELECT count(*) FROM connections WHERE lease_token IS NOT NULL)
             + (SELECT count(*) FROM delivery_queue WHERE lease_token IS NOT NULL)
        """
    )
    return count
