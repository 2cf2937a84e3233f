"""The widget's addresses: for linking a bank, for one that was chosen already, and for repairing a bank account."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from bankfeed.addresses import MAX_URL_CHARS
from bankfeed.connectors import CONNECTORS
from bankfeed.db import bank_account, widget
from bankfeed.db.customer import list_redirect_uris, update_redirect_uris
from bankfeed.db.widget import Outcome, WidgetKind
from bankfeed.errors import BadRequest, NotFound
from bankfeed.model import ClientId, ConnectionId
from ingress.api.call import Call
from ingress.api.route import Body, NoParams, Route, Scope, Wire
from ingress.api.targets import check_url
from ingress.widget.opening import MOST_REDIRECTS, Wanted, check_redirect_uri, open_widget

TAG: Final = "Widget"
Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
RedirectUri = Annotated[
    str,
    Meta(
        max_length=MAX_URL_CHARS,
        description="Where the person goes back to: one of the firm's redirect URIs. It gets outcome, widgetSessionId and "
        "bankAccountId in its query.",
    ),
]
Webhook = Annotated[
    str,
    Meta(
        max_length=MAX_URL_CHARS,
        description="Hears of this client until four days after the session: widgetEnded, accountAdded, mfaUpdated and "
        "transactionsRefreshed, signed with webhookSecret, and retried like any delivery.",
    ),
]
ContentType = Annotated[str, Meta(pattern="^application/json$", description="application/json, the only one there is.")]


class _Way(Body):
    redirect_uri: RedirectUri | UnsetType = UNSET
    webhook: Webhook | UnsetType = UNSET
    webhook_content_type: ContentType | UnsetType = UNSET


class AddWidget(_Way):
    """Whose bank is to be linked, by `clientId` or `username`."""

    client_id: Id | UnsetType = UNSET
    username: Annotated[str, Meta(max_length=320)] | UnsetType = UNSET


class AddLiteWidget(AddWidget, kw_only=True):
    """Whose bank is to be linked, and which."""

    institution_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="Our id, from GET /institutions.")]


class FixWidget(_Way, kw_only=True):
    """Which bank account is to be repaired."""

    bank_account_id: Id


class WidgetAnswer(Wire):
    """The address for the person's browser: it opens once, within two hours."""

    widget_url: str
    widget_session_id: UUID
    expires_at: datetime
    webhook_secret: Annotated[str | None, Meta(description="Signs what `webhook` gets; null where none is given.")]


class SessionParams(Body):
    """Which session."""

    widget_session_id: UUID


class WidgetSessionRow(Wire):
    """How far an opening of the widget has come. Null outcome: it goes on, or nobody has opened it yet."""

    id: UUID
    client_id: int
    kind: WidgetKind
    outcome: Outcome | None
    code: Annotated[int | None, Meta(description="What the bank said last; see GET /error-codes.")]
    institution_id: int | None
    bank_account_id: int | None
    created_at: datetime
    expires_at: datetime
    opened_at: datetime | None
    ended_at: datetime | None


class WidgetSessionAnswer(Wire):
    """One session."""

    widget_session: WidgetSessionRow


class RedirectUris(Body):
    """Where the widget may lead back to, all of them."""

    redirect_uris: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=MAX_URL_CHARS)]],
        Meta(
            max_length=MOST_REDIRECTS,
            description="https, or http on the machine of whoever tries it out; compared as a whole.",
        ),
    ]


class RedirectUrisAnswer(Wire):
    """Where the widget may lead back to."""

    redirect_uris: list[str]


async def open_add_widget(call: Call, _: NoParams, body: AddWidget) -> WidgetAnswer:
    """Make the address of a widget in which a bank is searched and linked."""
    return await _open(call, body, WidgetKind.ADD, client_id=await _find_client(call, body))


async def open_add_lite_widget(call: Call, _: NoParams, body: AddLiteWidget) -> WidgetAnswer:
    """Make the address of a widget in which a bank that was chosen already is linked."""
    found = await call.services.catalogue.get(body.institution_id)
    if found is None or found.connector not in CONNECTORS:
        raise NotFound(f"there is no institution {body.institution_id} that can be linked")
    client_id = await _find_client(call, body)
    return await _open(call, body, WidgetKind.ADD_LITE, client_id=client_id, institution_id=found.id)


async def open_fix_widget(call: Call, _: NoParams, body: FixWidget) -> WidgetAnswer:
    """Make the address of a widget that opens with what is wrong with a bank account."""
    return await _open(call, body, WidgetKind.FIX, connection_id=ConnectionId(body.bank_account_id))


async def get_widget_session(call: Call, params: SessionParams) -> WidgetSessionAnswer:
    """Answer how far an opening of the widget has come."""
    found = await widget.find_session(call.conn, call.customer_id, params.widget_session_id)
    if found is None:
        raise NotFound(f"there is no widget session {params.widget_session_id}")
    return WidgetSessionAnswer(
        widget_session=WidgetSessionRow(
            id=found.id,
            client_id=found.client_id,
            kind=found.kind,
            outcome=found.outcome,
            code=found.status_code,
            institution_id=found.institution_id,
            bank_account_id=found.connection_id,
            created_at=found.created_at,
            expires_at=found.expires_at,
            opened_at=found.opened_at,
            ended_at=found.ended_at,
        )
    )


async def get_redirect_uris(call: Call, _: NoParams) -> RedirectUrisAnswer:
    """Answer where the widget may lead back to."""
    return RedirectUrisAnswer(redirect_uris=list(await list_redirect_uris(call.conn, call.customer_id)))


async def replace_redirect_uris(call: Call, _: NoParams, body: RedirectUris) -> RedirectUrisAnswer:
    """Say where the widget may lead back to."""
    uris = list(dict.fromkeys(body.redirect_uris))
    for uri in uris:
        try:
            check_redirect_uri(uri)
        except ValueError as error:
            raise BadRequest(f"expected {error}", field="redirectUris") from None
    await update_redirect_uris(call.conn, call.customer_id, uris)
    return RedirectUrisAnswer(redirect_uris=uris)


# ------------------------------------------------------------------------------------------------ steps


async def _find_client(call: Call, body: AddWidget) -> ClientId:
    """Return whose bank it is. Raises BadRequest, NotFound."""
    wanted = None if isinstance(body.client_id, UnsetType) else ClientId(body.client_id)
    username = None if isinstance(body.username, UnsetType) else body.username
    if wanted is None and username is None:
        raise BadRequest("expected clientId or username", field="clientId")
    found = await bank_account.find_client(call.conn, call.customer_id, client_id=wanted, username=username)
    if found is None:
        raise NotFound("there is no such client")
    return found


async def _open(
    call: Call,
    body: _Way,
    kind: WidgetKind,
    *,
    client_id: ClientId | None = None,
    institution_id: int | None = None,
    connection_id: ConnectionId | None = None,
) -> WidgetAnswer:
    webhook = "" if isinstance(body.webhook, UnsetType) else body.webhook
    if webhook:
        await check_url(webhook, call.settings.outbound_allow, field="webhook")
    wanted = Wanted(
        kind=kind,
        client_id=client_id,
        institution_id=institution_id,
        connection_id=connection_id,
        redirect_uri="" if isinstance(body.redirect_uri, UnsetType) else body.redirect_uri,
        webhook=webhook,
        requested_by=call.actor,
    )
    opened = await open_widget(call.conn, call.settings, call.customer_id, wanted, base=call.base)
    return WidgetAnswer(
        widget_url=opened.url,
        widget_session_id=opened.begun.id,
        expires_at=opened.begun.expires_at,
        webhook_secret=opened.begun.webhook_secret,
    )


_TEXT: Final = (
    "For the person's browser, by itself or in a frame (`BANKFEED_WIDGET_FRAMES`). The address is signed, opens once and within two "
    "hours. What came of it is the event widgetEnded, or `GET /widgets/sessions/{widgetSessionId}`. Where the aggregator has a "
    "widget of its own, the address leads there."
)

ROUTES: Final = (
    Route(
        method="POST",
        path="/widgets/add",
        handle=open_add_widget,
        summary="Open the widget to link a bank",
        text=_TEXT,
        tag=TAG,
        scope=Scope.ACCOUNTS_WRITE,
        body=AddWidget,
        answer=WidgetAnswer,
        carries_secret=True,
    ),
    Route(
        method="POST",
        path="/widgets/add-lite",
        handle=open_add_lite_widget,
        summary="Open the widget to link a bank that was chosen already",
        text=_TEXT,
        tag=TAG,
        scope=Scope.ACCOUNTS_WRITE,
        body=AddLiteWidget,
        answer=WidgetAnswer,
        carries_secret=True,
    ),
    Route(
        method="POST",
        path="/widgets/fix",
        handle=open_fix_widget,
        summary="Open the widget to repair a bank account",
        text="It opens with what is wrong and the step that mends it. " + _TEXT,
        tag=TAG,
        scope=Scope.ACCOUNTS_WRITE,
        body=FixWidget,
        answer=WidgetAnswer,
        carries_secret=True,
    ),
    Route(
        method="GET",
        path="/widgets/sessions/{widgetSessionId}",
        handle=get_widget_session,
        summary="How far an opening of the widget has come",
        tag=TAG,
        scope=Scope.ACCOUNTS_READ,
        params=SessionParams,
        answer=WidgetSessionAnswer,
    ),
    Route(
        method="GET",
        path="/customer/redirect-uris",
        handle=get_redirect_uris,
        summary="Where the widget may lead back to",
        tag=TAG,
        scope=Scope.ACCOUNTS_READ,
        answer=RedirectUrisAnswer,
    ),
    Route(
        method="PUT",
        path="/customer/redirect-uris",
        handle=replace_redirect_uris,
        summary="Say where the widget may lead back to",
        tag=TAG,
        scope=Scope.PEOPLE_WRITE,
        body=RedirectUris,
        answer=RedirectUrisAnswer,
    ),
)
