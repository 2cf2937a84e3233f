"""The only place with SQL besides schema.sql: one file a noun, one literal a function, `conn` first.

The caller owns the transaction (`Database.tenant` or `Database.queue`). Bulk goes by unnest, a fixed number of
statements however many rows. Verbs: get_ raises where there is nothing, find_ answers None, list_, insert_, upsert_,
mark_<state>, claim_, delete_. A function says which role it is for where it is not the app's.
"""

from bankfeed.db.database import Connection, Database, Tenants, plan_for_bulk, set_tenant

__all__ = ["Connection", "Database", "Tenants", "plan_for_bulk", "set_tenant"]
