"""Institutions: banks and card issuers as the aggregators list them. The same for everybody, so no tenant is named."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from bankfeed.db.database import Connection
from bankfeed.model import ListedInstitution

GONE = "gone"  # the status of one that the aggregator does not list any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Institution:
    """One institution. `connector` and `ref` say who listed it, and as what; `changed_at` is when we last saw it change.

    `migrates_until` is the day until which its logins have to be signed in to again. `same_as` is the institution that this one
    is at another aggregator. None where there is none of that.
    """

    id: int
    connector: str
    ref: str
    name: str
    url: str
    sign_in_url: str
    phone: str
    email: str
    account_types: tuple[str, ...]
    currency: str
    status: str
    is_oauth: bool
    is_sandbox: bool
    time_zone: str | None
    migrates_until: date | None
    same_as: int | None
    changed_at: datetime


async def find_unknown_institutions(conn: Connection, ids: Sequence[int]) -> tuple[int, ...]:
    """Return those of these ids that no institution has."""
    rows = await conn.fetch(
        """
        SELECT u AS id FROM unnest($1::bigint[]) AS u
        WHERE NOT EXISTS (SELECT FROM institutions i WHERE i.id = u) ORDER BY u
        """,
        ids,
    )
    return tuple(row["id"] for row in rows)


async def upsert_institutions(conn: Connection, *, connector: str, listed: Sequence[ListedInstitution]) -> int:
    """Note institutions as the aggregator lists them; return how many are new or changed. Safe to repeat.

    One that has not changed is not written. What puts its logins out of order, or in order again, or bids them sign in again,
    is noted for those who have one there (institution_notice.py). The caller holds the lists' lock (`try_to_list`,
    `lock_lists`), or names what no list has named yet.
    """
    by_ref = {each.ref: each for each in listed}
    rows = [by_ref[ref] for ref in sorted(by_ref)]
    changed = await conn.fetch(
        """
        WITH old AS (
            SELECT id, status, migrates_until FROM institutions WHERE connector = $1 AND aggregator_id = ANY ($2::text[])
        ), noted AS (
            INSERT INTO institutions AS i (connector, aggregator_id, name, url, sign_in_url, phone, email, account_types,
                                           currency, status, is_oauth, is_sandbox, time_zone, migrates_until)
            SELECT $1, u.ref, u.name, u.url, u.sign_in_url, u.phone, u.email, string_to_array(u.account_types, ','),
                   u.currency, u.status, u.is_oauth, u.is_sandbox, u.time_zone, u.migrates_until
            FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                        $10::text[], $11::bool[], $12::bool[], $13::text[], $14::date[]) WITH ORDINALITY
                 AS u (ref, name, url, sign_in_url, phone, email, account_types, currency, status, is_oauth, is_sandbox,
                       time_zone, migrates_until, n)
            ORDER BY u.n
            ON CONFLICT (connector, aggregator_id) DO UPDATE
                SET name = excluded.name, url = excluded.url, sign_in_url = excluded.sign_in_url, phone = excluded.phone,
                    email = excluded.email, account_types = excluded.account_types, currency = excluded.currency,
                    status = excluded.status, is_oauth = excluded.is_oauth, is_sandbox = excluded.is_sandbox,
                    time_zone = excluded.time_zone, migrates_until = excluded.migrates_until, changed_at = now()
                WHERE (i.name, i.url, i.sign_in_url, i.phone, i.email, i.account_types, i.currency, i.status, i.is_oauth,
                       i.is_sandbox, i.time_zone, i.migrates_until)
                    IS DISTINCT FROM (excluded.name, excluded.url, excluded.sign_in_url, excluded.phone, excluded.email,
                       excluded.account_types, excluded.currency, excluded.status, excluded.is_oauth, excluded.is_sandbox,
                       excluded.time_zone, excluded.migrates_until)
            RETURNING i.id, i.status, i.migrates_until
        ), notice AS (
            INSERT INTO institution_notices (institution_id, status, migrates_until)
            SELECT noted.id, noted.status, noted.migrates_until FROM noted JOIN old ON old.id = noted.id
            WHERE noted.migrates_until IS DISTINCT FROM old.migrates_until
               OR (noted.status <> old.status AND (old.status IN ('offline', 'maintenance', 'migrating')
                                                   OR noted.status IN ('offline', 'maintenance', 'migrating')))
            ORDER BY noted.id
        )
        SELECT id FROM noted
        """,
        connector,
        [each.ref for each in rows],
        [each.name for each in rows],
        [each.url for each in rows],
        [each.sign_in_url for each in rows],
        [each.phone for each in rows],
        [each.email for each in rows],
        [",".join(each.account_types) for each in rows],
        [each.currency for each in rows],
        [each.status for each in rows],
        [each.is_oauth for each in rows],
        [each.is_sandbox for each in rows],
        [each.time_zone for each in rows],
        [each.migrates_until for each in rows],
    )
    return len(changed)


async def is_listing_due(conn: Connection, *, connector: str, hours: int) -> bool:
    """Tell whether the whole list of an aggregator was last read so many hours ago, or never."""
    is_due: bool = await conn.fetchval(
        """
        SELECT coalesce(max(listed_at) < now() - make_interval(hours => $2), true) FROM institutions WHERE connector = $1
        """,
        connector,
        hours,
    )
    return is_due


async def try_to_list(conn: Connection) -> bool:
    """Lock the lists of institutions until the transaction ends; False where another worker holds them."""
    is_ours: bool = await conn.fetchval("SELECT pg_try_advisory_xact_lock(hashtext('bankfeed institutions'))")
    return is_ours


async def lock_lists(conn: Connection) -> None:
    """Lock the lists of institutions until the transaction ends; wait for another worker's batch, which is short."""
    await conn.execute("SELECT pg_advisory_xact_lock(hashtext('bankfeed institutions'))")


async def mark_listed(conn: Connection, *, connector: str, refs: Sequence[str]) -> None:
    """Note that a list which was read to its end named these institutions."""
    await conn.execute(
        "UPDATE institutions SET listed_at = now() WHERE connector = $1 AND aggregator_id = ANY ($2::text[])",
        connector,
        list(refs),
    )


async def mark_gone(conn: Connection, *, connector: str) -> int:
    """Call gone what earlier lists named and that of this very transaction does not; return how many.

    The caller has read the whole list. One that would lose more than half of what there is is not believed.
    """
    rows = await conn.fetch(
        """
        WITH known AS (
            SELECT id, status, listed_at < now() AS is_missing FROM institutions
            WHERE connector = $1 AND status <> 'gone' AND listed_at IS NOT NULL
        ), gone AS (
            UPDATE institutions i SET status = 'gone', changed_at = now() FROM known k
            WHERE i.id = k.id AND k.is_missing AND (SELECT count(*) FILTER (WHERE is_missing) * 2 <= count(*) FROM known)
            RETURNING i.id, i.status, i.migrates_until, k.status AS was
        ), notice AS (
            INSERT INTO institution_notices (institution_id, status, migrates_until)
            SELECT id, status, migrates_until FROM gone WHERE was IN ('offline', 'maintenance', 'migrating') ORDER BY id
        )
        SELECT id FROM gone
        """,
        connector,
    )
    return len(rows)


async def list_institutions(
    conn: Connection, *, changed_since: datetime | None, after_id: int, limit: int
) -> tuple[Institution, ...]:
    """List institutions by id, following `after_id`; those that changed at that time or later, all where it is None."""
    rows = await conn.fetch(
        """
        SELECT id, connector, aggregator_id AS ref, name, url, sign_in_url, phone, email, account_types, currency, status,
               is_oauth, is_sandbox, time_zone, migrates_until, same_as, changed_at
        FROM institutions WHERE ($1::timestamptz IS NULL OR changed_at >= $1) AND id > $2 ORDER BY id LIMIT $3
        """,
        changed_since,
        after_id,
        limit,
    )
    return tuple(map(_read, rows))


async def find_institution(conn: Connection, institution_id: int) -> Institution | None:
    """Return one institution, None where there is none."""
    row = await conn.fetchrow(
        """
        SELECT id, connector, aggregator_id AS ref, name, url, sign_in_url, phone, email, account_types, currency, status,
               is_oauth, is_sandbox, time_zone, migrates_until, same_as, changed_at
        FROM institutions WHERE id = $1
        """,
        institution_id,
    )
    return _read(row) if row else None


async def find_institution_by_ref(conn: Connection, *, connector: str, ref: str) -> Institution | None:
    """Return one institution by the aggregator's id, None where it was never listed or looked up."""
    row = await conn.fetchrow(
        """
        SELECT id, connector, aggregator_id AS ref, name, url, sign_in_url, phone, email, account_types, currency, status,
               is_oauth, is_sandbox, time_zone, migrates_until, same_as, changed_at
        FROM institutions WHERE connector = $1 AND aggregator_id = $2
        """,
        connector,
        ref,
    )
    return _read(row) if row else None


async def search_institutions(conn: Connection, *, text: str, limit: int) -> tuple[Institution, ...]:
    """List institutions whose name has a text in it, whatever its case, by name; all where it is ""."""
    rows = await conn.fetch(
        """
        SELECT id, connector, aggregator_id AS ref, name, url, sign_in_url, phone, email, account_types, currency, status,
               is_oauth, is_sandbox, time_zone, migrates_until, same_as, changed_at
        FROM institutions WHERE strpos(lower(name), lower($1)) > 0 ORDER BY lower(name), id LIMIT $2
        """,
        text,
        limit,
    )
    return tuple(map(_read, rows))


async def lock_kinship(conn: Connection) -> None:
    """Let nobody else say meanwhile which institutions are the same one, until the transaction ends."""
    await conn.execute("SELECT pg_advisory_xact_lock(hashtext('bankfeed institutions kinship'))")


async def mark_same(conn: Connection, institution_id: int, *, of_id: int) -> None:
    """Note that an institution is another one at another aggregator, and so is what was noted to be it. Safe to repeat.

    The caller has made sure that both exist, and that `of_id` is none of another one. Kinship is one step deep: all of one bank
    name the same institution.
    """
    await conn.execute(
        "UPDATE institutions SET same_as = $2, changed_at = now() WHERE (id = $1 OR same_as = $1) AND id <> $2",
        institution_id,
        of_id,
    )


async def clear_same(conn: Connection, institution_id: int) -> bool:
    """Let an institution be one of its own again; False where it was no other one."""
    cleared = await conn.fetchval(
        "UPDATE institutions SET same_as = NULL, changed_at = now() WHERE id = $1 AND same_as IS NOT NULL RETURNING true",
        institution_id,
    )
    return bool(cleared)


def _read(row: Any) -> Institution:
    return Institution(**{**row, "account_types": tuple(row["account_types"])})
