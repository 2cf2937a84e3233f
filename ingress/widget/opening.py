"""Making a session and the address that opens it: what the API's three operations and the console's buttons share."""

from dataclasses import dataclass, field
from typing import Final

from bankfeed.addresses import MAX_URL_CHARS, read_target
from bankfeed.db import Connection, widget_login
from bankfeed.db.client import get_client
from bankfeed.db.customer import list_redirect_uris
from bankfeed.db.widget import NewSession, WidgetKind, WidgetStep
from bankfeed.errors import ActRefused, BadRequest, NotFound
from bankfeed.model import ClientId, ConnectionId, CustomerId
from bankfeed.settings import Settings
from bankfeed.widgets import Begun, begin
from ingress.widget.links import LIFE_S, Opening, write_opening

MOST_REDIRECTS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the widget is to be opened for. `webhook` was checked by the outbound address guard."""

    kind: WidgetKind
    client_id: ClientId | None = None
    institution_id: int | None = None
    connection_id: ConnectionId | None = None
    redirect_uri: str = ""
    webhook: str = ""
    requested_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The address for the person's browser, and the session behind it."""

    url: str = field(repr=False)
    begun: Begun


async def open_widget(
    conn: Connection, settings: Settings, customer_id: CustomerId, wanted: Wanted, *, base: str
) -> Opened:
    """Make a session for a client, in the caller's transaction.

    Raises NotFound (client, bank account), BadRequest (a redirectUri that is not on the list), ActRefused (a locked client, a
    bank account that is closed).
    """
    client_id = wanted.client_id
    if wanted.connection_id is not None:
        found = await widget_login.list_logins(conn, customer_id, connection_id=wanted.connection_id)
        if not found:
            raise NotFound(f"there is no open bank account {wanted.connection_id}")
        client_id = found[0].client_id
    assert client_id is not None
    if (await get_client(conn, customer_id, client_id)).locked_at is not None:
        raise ActRefused(f"the client {client_id} is locked; unlock it first")
    if wanted.connection_id is not None and found[0].institution_id is None:
        raise ActRefused("the first update of the bank account is not done yet; its bank is not known before that")
    if wanted.redirect_uri and wanted.redirect_uri not in await list_redirect_uris(conn, customer_id):
        raise BadRequest(
            "expected one of the firm's redirect URIs, see PUT /customer/redirect-uris", field="redirectUri"
        )
    new = NewSession(
        client_id=client_id,
        kind=wanted.kind,
        step=_FIRST_STEPS[wanted.kind],
        requested_by=wanted.requested_by,
        life_s=LIFE_S,
        institution_id=found[0].institution_id if wanted.connection_id is not None else wanted.institution_id,
        connection_id=wanted.connection_id,
        redirect_uri=wanted.redirect_uri,
        has_webhook=bool(wanted.webhook),
    )
    begun = await begin(conn, settings.sealer(), customer_id, new, webhook=wanted.webhook)
    opening = Opening(
        customer_id=customer_id,
        session_id=begun.id,
        made_at=begun.made_at,
        expires_at=begun.expires_at,
        redirect_uri=wanted.redirect_uri,
        webhook=wanted.webhook,
    )
    return Opened(url=write_opening(settings.signer(), base, opening), begun=begun)


def check_redirect_uri(uri: str) -> None:
    """See that browsers may be led to an address: https, or http on this machine, for whoever tries it out.

    Raises ValueError that says what was expected.
    """
    target = read_target(uri)
    is_here = bool(target.addresses) and all(address.is_loopback for address in target.addresses)
    if target.scheme != "https" and not is_here:
        raise ValueError(f"an https URL of at most {MAX_URL_CHARS:,} characters, or http on this machine")


_FIRST_STEPS: Final = {
    WidgetKind.ADD: WidgetStep.INSTITUTION,
    WidgetKind.ADD_LITE: WidgetStep.PREPARE,
    WidgetKind.FIX: WidgetStep.TROUBLE,
}
