"""Wrong passwords in a row, by hash of the e-mail address, as the queue role: how long the next try has to wait.

An address that nobody has counts like any other, so that nobody learns from a wait which addresses exist.
"""

from bankfeed.db.database import Connection

FREE_TRIES = 3
LONGEST_S = 15 * 60


async def take_try(conn: Connection, name_sha256: bytes) -> int:
    """Count a try as a failure from its beginning and return 0; or count nothing and return the seconds to wait.

    Of many that come at once no more get through than one after the other would: each sees what the one before it
    counted. Three failures in a row cost nothing; after the fourth the wait is 1 s, then 2 s, 4 s and so on, up to 15 minutes.
    """
    wait_s: int = await conn.fetchval(
        """
        WITH taken AS (
            INSERT INTO sign_in_failures AS f (name_sha256, failures, blocked_until) VALUES ($1, 1, now())
            ON CONFLICT (name_sha256) DO UPDATE SET
                failures = least(f.failures + 1, 1000),
                blocked_until = clock_timestamp() + make_interval(secs => CASE WHEN f.failures < $2 THEN 0
                    ELSE least(power(2, least(f.failures - $2, 20)), $3) END)
            WHERE f.blocked_until <= clock_timestamp() RETURNING 1
        )
        SELECT CASE WHEN EXISTS (SELECT FROM taken) THEN 0 ELSE greatest(1, ceil(extract(epoch FROM coalesce(
            (SELECT blocked_until FROM sign_in_failures WHERE name_sha256 = $1), now()) - clock_timestamp())))::int END
        """,
        name_sha256,
        FREE_TRIES,
        LONGEST_S,
    )
    return wait_s


async def give_try_back(conn: Connection, name_sha256: bytes) -> None:
    """Take back the newest try: nobody looked at its password."""
    await conn.execute(
        """
        UPDATE sign_in_failures SET failures = failures - 1, blocked_until = now()
        WHERE name_sha256 = $1 AND failures > 0
        """,
        name_sha256,
    )


async def delete_failures(conn: Connection, name_sha256: bytes) -> None:
    """Forget the failures: the password was right. Safe to repeat."""
    await conn.execute("DELETE FROM sign_in_failures WHERE name_sha256 = $1", name_sha256)
