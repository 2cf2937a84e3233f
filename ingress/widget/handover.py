"""Leading to an aggregator's own widget, such as Finicity Connect: what is linked there comes in by its webhooks."""

from bankfeed.aggregators.linking import OwnWidget
from bankfeed.db import source
from bankfeed.db.widget_login import Login
from bankfeed.errors import AggregatorError
from ingress.widget.ours import Ours


async def make_link(ours: Ours, login: Login | None, *, base: str) -> str:
    """Return the address of the aggregator's own widget for a session: its two hours begin now.

    Raises AggregatorError, and NotFound where the client was deleted meanwhile.
    """
    customer_ref, source_id = await ours.enrol(), await ours.find_source()
    if customer_ref is None or source_id is None:
        raise AggregatorError("there is no source for this aggregator", is_retryable=False)
    async with ours.database.queue() as conn:
        slug = await source.find_feed_slug(conn, source_id, "finicity")
    return await ours.linker.make_widget_url(
        OwnWidget(
            customer_ref=customer_ref,
            institution_ref=ours.institution.ref if ours.institution is not None and login is None else None,
            login_ref=None if login is None else login.login_ref,
            redirect_uri=ours.session.redirect_uri,
            webhook=f"{base}/webhooks/{slug}" if slug and base.startswith("https://") else "",
        )
    )
