"""Whom the firm has told by e-mail, and how often, while a bank needs somebody."""

from typing import Annotated, Final

from msgspec import Meta

from bankfeed.db.notification import Wishes, get_wishes, update_wishes
from bankfeed.errors import BadRequest
from bankfeed.people import MAX_EMAIL_CHARS, clean_email, is_email
from ingress.api.call import Call
from ingress.api.route import Body, NoParams, Route, Scope, Wire

TAG: Final = "Customer"

EveryHours = Annotated[
    Annotated[int, Meta(ge=1, le=720)] | None,
    Meta(description="Hours from one e-mail to the next, 1 to 720, while a bank needs somebody; null is never."),
]


class NotificationsWire(Wire):
    """What the firm chose. `is_sending`: this deployment sends e-mail at all."""

    email: str
    every_hours: EveryHours
    clients_every_hours: EveryHours
    is_sending: bool


class NotificationsAnswer(Wire):
    """Who is told, and how often."""

    notifications: NotificationsWire


class NewNotifications(Body):
    """What the firm chooses, all of it."""

    email: Annotated[
        str,
        Meta(
            max_length=MAX_EMAIL_CHARS, description='Where the firm hears of the banks of its clients; "" for nowhere.'
        ),
    ]
    every_hours: EveryHours
    clients_every_hours: Annotated[
        EveryHours,
        Meta(description="The same for clients, who hear of their own banks at the address that they have here."),
    ]


async def get_notifications(call: Call, _: NoParams) -> NotificationsAnswer:
    """Answer what the firm chose."""
    return await _answer(call)


async def update_notifications(call: Call, _: NoParams, body: NewNotifications) -> NotificationsAnswer:
    """Choose who is told, and how often, from now on."""
    email = clean_email(body.email)
    if email and not is_email(email):
        raise BadRequest("expected an e-mail address like ann@firm.example, or none", field="email")
    if body.every_hours is not None and not email:
        raise BadRequest("expected an e-mail address, because everyHours is given", field="email")
    wishes = Wishes(email=email, every_hours=body.every_hours, clients_every_hours=body.clients_every_hours)
    await update_wishes(call.conn, call.customer_id, wishes)
    return await _answer(call)


async def _answer(call: Call) -> NotificationsAnswer:
    wishes = await get_wishes(call.conn, call.customer_id)
    return NotificationsAnswer(
        notifications=NotificationsWire(
            email=wishes.email,
            every_hours=wishes.every_hours,
            clients_every_hours=wishes.clients_every_hours,
            is_sending=bool(call.settings.smtp_url),
        )
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/customer/notifications",
        handle=get_notifications,
        summary="Who is told by e-mail, and how often",
        tag=TAG,
        scope=Scope.PEOPLE_READ,
        answer=NotificationsAnswer,
    ),
    Route(
        method="PUT",
        path="/customer/notifications",
        handle=update_notifications,
        summary="Choose who is told by e-mail, and how often",
        tag=TAG,
        scope=Scope.PEOPLE_WRITE,
        text="While a bank needs somebody, its firm and its client can hear of it by e-mail: which bank, since when, what "
        "happened and the next step; never amounts or numbers. At most as often as chosen here, and not at all while "
        "every bank is well.",
        body=NewNotifications,
        answer=NotificationsAnswer,
    ),
)
