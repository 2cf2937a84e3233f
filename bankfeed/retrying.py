"""Trying one delivery again at a person's wish, over the API or on the command line."""

from bankfeed.db import outbound
from bankfeed.db.database import Connection
from bankfeed.db.outbound import MOST_EXTRA_ATTEMPTS
from bankfeed.model import CustomerId, DeliveryId


async def retry(conn: Connection, customer_id: CustomerId, delivery_id: DeliveryId) -> str | None:
    """Make a delivery that waits or failed due at once; return what stands in the way, None where nothing does.

    An extra attempt, beside the schedule's; one never attempted begins its schedule. Raises NotFound.
    """
    found = await outbound.get_delivery(conn, customer_id, delivery_id)
    if found.endpoint_state != "active":
        return "expected an active webhook endpoint, got a delivery to one that is disabled or deleted"
    if found.state == "delivered":
        return "expected a delivery that waits or failed, got one that was delivered: replay sends its event again"
    is_due = await outbound.hurry_delivery(conn, customer_id, delivery_id)
    if is_due or await outbound.requeue_delivery(conn, customer_id, delivery_id):
        return None
    return (
        "expected a delivery that is not being attempted now, does not wait for an earlier one of its bank account, and had "
        f"fewer than {MOST_EXTRA_ATTEMPTS} extra attempts"
    )
