"""What a subscriber may ask of a webhook endpoint, on the wire: read, checked, and shown."""

from dataclasses import fields
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, UnsetType

from bankfeed.addresses import MAX_URL_CHARS
from bankfeed.db.endpoint import MAX_REASON_CHARS, Endpoint, Subscription, find_unknown_ids
from bankfeed.db.institution import find_unknown_institutions
from bankfeed.endpoints import MAX_HEADERS, check_headers, check_secret
from bankfeed.errors import BadRequest
from bankfeed.model import BodyFormat, EventType
from bankfeed.schedule import RETRIES, check_offsets
from ingress.api.call import Call
from ingress.api.route import Body, Wire
from ingress.api.targets import check_url

MAX_IDS: Final = 100
MAX_SECRET_CHARS: Final = 200
WIRE_NAMES: Final = {
    "account_ids": "sub_account_ids",
    "slots": "max_concurrent",
    "rate_per_s": "rate_per_second",
    "is_disabled_by_gone": "disable_on_gone",
}
"""Subscription's fields that the wire calls otherwise."""
BOUNDS: Final = ("client_ids", "account_ids", "institution_ids")

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Url = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_URL_CHARS,
        description="https on port 443 or 8443 of the public internet, or where the operator allows; no user, password or "
        "fragment.",
    ),
]
EventTypes = Annotated[
    list[EventType],
    Meta(min_length=1, max_length=16, description="Which events it gets; the four of accounts unless given."),
]
Description = Annotated[str, Meta(max_length=500, description="What it is for.")]
Version = Annotated[int, Meta(ge=1, le=2**31 - 1, description="Change this version only.")]
SecretText = Annotated[
    str,
    Meta(
        max_length=MAX_SECRET_CHARS,
        description="A secret of your own, whsec_ and base64 of 24 to 64 bytes; one is made unless given.",
    ),
]
Headers = Annotated[
    dict[str, str],
    Meta(
        max_length=MAX_HEADERS,
        description="Sent with every attempt, name to value; never shown again. Those of the signature and of the connection "
        "are reserved.",
    ),
]
ClientIds = Annotated[
    list[Id], Meta(min_length=1, max_length=MAX_IDS, description="Only events about these clients; null is all.")
]
SubAccountIds = Annotated[
    list[Id],
    Meta(min_length=1, max_length=MAX_IDS, description="Only events about one of these sub-accounts; null is all."),
]
InstitutionIds = Annotated[
    list[Id],
    Meta(min_length=1, max_length=MAX_IDS, description="Only events about bank accounts at these; null is all."),
]
MaxConcurrent = Annotated[int, Meta(ge=1, le=100, description="How many attempts may run at once; 10 unless given.")]
RatePerSecond = Annotated[
    int, Meta(ge=1, le=1_000, description="How many attempts may begin in a second; null is as many as there are.")
]
IsOrdered = Annotated[
    bool,
    Meta(
        description="Events of one bank account, so of each of its sub-accounts, in order: one waits until the one before is "
        "delivered or has failed."
    ),
]
JitterPercent = Annotated[
    int,
    Meta(
        ge=0,
        le=50,
        description="Each retry comes later by up to this part of the time since the one before; 0 unless given.",
    ),
]
RetrySchedule = Annotated[
    list[int],
    Meta(
        max_length=RETRIES,
        description="Retries in seconds after the first attempt, increasing, within three days; none is no retry; null is "
        "the documented schedule.",
    ),
]
DisableOnGone = Annotated[bool, Meta(description="Whether an answer of 410 disables it.")]


class ApiVersion(StrEnum):
    """The version of the body that is sent."""

    V1 = "v1"


class EndpointState(StrEnum):
    """Whether events are delivered to an endpoint: throttled is later, disabled not at all."""

    ACTIVE = "active"
    THROTTLED = "throttled"
    DISABLED = "disabled"


class EndpointRow(Wire):
    """A subscriber's URL, what was asked for, and how it stands. Its secret is shown once, when it is made."""

    id: int
    url: str
    event_types: list[EventType]
    description: str
    client_ids: list[int] | None
    sub_account_ids: list[int] | None
    institution_ids: list[int] | None
    header_names: Annotated[list[str], Meta(description="The headers that were asked for; their values are not shown.")]
    body_format: BodyFormat
    api_version: ApiVersion
    max_concurrent: int
    rate_per_second: int | None
    is_ordered: bool
    jitter_percent: int
    retry_schedule: list[int] | None
    disable_on_gone: bool
    state: EndpointState
    state_reason: Annotated[str, Meta(description="Why it was disabled; empty where nobody said.")]
    state_since: Annotated[datetime, Meta(description="When it was last enabled or disabled.")]
    throttled_until: Annotated[
        datetime | None,
        Meta(
            description="Until when nothing is sent, because it failed too often or asked for a pause; null: it is sent."
        ),
    ]
    failures_in_a_row: Annotated[int, Meta(description="Attempts that failed since the last one that did not.")]
    failing_since: Annotated[datetime | None, Meta(description="When the first of these began; null: there are none.")]
    public_keys: Annotated[
        list[str], Meta(description="Whoever checks v1a signatures needs one of these, the current one first (whpk_).")
    ]
    previous_secret_until: Annotated[
        datetime | None, Meta(description="Until when the secret and key before sign too; null: one of each signs.")
    ]
    created_at: datetime
    version: int


class Wishes(Body, kw_only=True):
    """What may be asked for; what is not given stays, or is the usual."""

    event_types: EventTypes | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    client_ids: ClientIds | UnsetType | None = UNSET
    sub_account_ids: SubAccountIds | UnsetType | None = UNSET
    institution_ids: InstitutionIds | UnsetType | None = UNSET
    headers: Headers | UnsetType | None = UNSET
    body_format: BodyFormat | UnsetType = UNSET
    api_version: ApiVersion | UnsetType = UNSET
    max_concurrent: MaxConcurrent | UnsetType = UNSET
    rate_per_second: RatePerSecond | UnsetType | None = UNSET
    is_ordered: IsOrdered | UnsetType = UNSET
    jitter_percent: JitterPercent | UnsetType = UNSET
    retry_schedule: RetrySchedule | UnsetType | None = UNSET
    disable_on_gone: DisableOnGone | UnsetType = UNSET


class NewEndpointBody(Wishes, kw_only=True):
    """What is added."""

    url: Url
    secret: SecretText | None = None


class EndpointChange(Wishes):
    """What is to change; what is not given stays. null is none of it, or the usual again."""

    url: Url | UnsetType = UNSET
    version: Version | None = None


class Disabling(Body):
    """Why an endpoint is disabled."""

    reason: Annotated[str, Meta(max_length=MAX_REASON_CHARS, description="For whoever looks at it later.")] = ""


class Backlog(StrEnum):
    """What becomes of what waits for an endpoint that is enabled again."""

    DELIVER = "deliver"
    DISCARD = "discard"


class Enabling(Body):
    """How an endpoint is enabled."""

    backlog: Annotated[Backlog, Meta(description="Whether what waits is delivered, or fails unsent.")] = Backlog.DELIVER


async def read_wishes(call: Call, body: NewEndpointBody | EndpointChange) -> dict[str, Any]:
    """Return what is given, by Subscription's fields, checked. Raises BadRequest naming the field."""
    named = {each.name: getattr(body, WIRE_NAMES.get(each.name, each.name)) for each in fields(Subscription)}
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in named.items() if value is not UNSET
    }
    if "url" in given:
        await check_url(given["url"], call.settings.outbound_allow)
    for name in ("event_types", *BOUNDS):
        if given.get(name):
            given[name] = tuple(dict.fromkeys(given[name]))
    if given.get("retry_schedule") is not None:
        _check(check_offsets, given["retry_schedule"], "retrySchedule")
    if any(given.get(name) for name in BOUNDS):
        await _check_ids(call, given)
    return given


def read_headers(headers: dict[str, str] | UnsetType | None) -> dict[str, str] | None:
    """Return headers as they are given, checked; None where none are given. Raises BadRequest naming `headers`."""
    if headers is UNSET:
        return None
    _check(check_headers, headers or {}, "headers")
    return headers or {}


def read_secret(secret: str | None) -> str | None:
    """Return a secret as it is given, checked; None where none is. Raises BadRequest naming `secret`."""
    if secret is not None:
        _check(check_secret, secret, "secret")
    return secret


def show_endpoint(found: Endpoint) -> EndpointRow:
    """Write an endpoint as it is shown."""
    asked = {each.name: getattr(found.subscription, each.name) for each in fields(Subscription)}
    shown: dict[str, Any] = {
        WIRE_NAMES.get(name, name): list(value) if isinstance(value, tuple) else value for name, value in asked.items()
    }
    return EndpointRow(
        id=found.id,
        **shown,
        header_names=list(found.header_names),
        api_version=ApiVersion.V1,
        state=EndpointState.THROTTLED if found.throttled_until else EndpointState(found.state),
        state_reason=found.state_reason,
        state_since=found.state_since,
        throttled_until=found.throttled_until,
        failures_in_a_row=found.failures,
        failing_since=found.failing_since,
        public_keys=list(found.public_keys),
        previous_secret_until=found.previous_secret_until,
        created_at=found.created_at,
        version=found.version,
    )


async def _check_ids(call: Call, given: dict[str, Any]) -> None:
    clients, accounts = await find_unknown_ids(
        call.conn,
        call.customer_id,
        client_ids=given.get("client_ids") or (),
        account_ids=given.get("account_ids") or (),
    )
    _refuse_unknown(clients, "your clients", "clientIds")
    _refuse_unknown(accounts, "your sub-accounts", "subAccountIds")
    institutions = await find_unknown_institutions(call.conn, given.get("institution_ids") or ())
    _refuse_unknown(institutions, "institutions", "institutionIds")


def _refuse_unknown(ids: tuple[int, ...], noun: str, field: str) -> None:
    if ids:
        raise BadRequest(f"expected ids of {noun}, got {', '.join(map(str, ids[:10]))}", field=field)


def _check(check: Any, value: Any, field: str) -> None:
    try:
        check(value)
    except ValueError as error:
        raise BadRequest(f"expected {error}", field=field) from None
