from bankfeed.db import Database
from bankfeed.db.customer import list_customer_ids
from tests.seed import make_sources, make_tenant


async def test_a_tenant_sees_its_own_rows_only(database: Database, owner) -> None:
    """A query that forgets its tenant predicate still sees one customer's rows."""
    sources = await make_sources(owner)
    one = await make_tenant(database, sources)
    other = await make_tenant(database, sources)
    async with database.tenant(one.customer_id) as conn:
        assert [one.client_id] == [row["id"] for row in await conn.fetch("SELECT id FROM clients")]
    async with database.queue() as conn:
        assert (one.customer_id, other.customer_id) == await list_customer_ids(conn)
