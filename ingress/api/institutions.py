"""Institutions: searched by name or URL while somebody types, listed by name, or one by its id.

All from memory (catalogue.py): what changes shows within a minute. Only what this deployment may link is there.
"""

from collections.abc import Callable
from datetime import date
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bankfeed.db.institution import Institution
from bankfeed.errors import NotFound
from bankfeed.finding import MAX_TEXT_CHARS
from bankfeed.model import AccountClass
from ingress.api.call import Call
from ingress.api.catalogue import key_of
from ingress.api.pages import read_cursor, write_cursor
from ingress.api.route import MAX_PAGE, USUAL_PAGE, Body, Route, Scope, Wire

MOST_FOUND: Final = 1_000
"""A search gives no more than so many: who did not find it among them types another letter."""


class InstitutionsWanted(Body):
    """Which institutions, and which page of them."""

    search: Annotated[
        str,
        Meta(
            max_length=MAX_TEXT_CHARS,
            description="A part of a name, or a URL. Slips of the pen, missing spaces and accents are forgiven; the best match"
            " comes first, and no more than 1,000. Without it all are listed by name.",
        ),
    ] = ""
    account_type: Annotated[AccountClass | None, Meta(description="Only those with accounts of this kind.")] = None
    is_oauth: Annotated[
        bool | None, Meta(description="Only those where one signs in at the bank's own page, or only the others.")
    ] = None
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many at most.")] = USUAL_PAGE
    cursor: Annotated[
        str, Meta(max_length=2_000, description="Where to go on: nextCursor of the page before, with the same search.")
    ] = ""


class InstitutionWanted(Body):
    """Which institution."""

    institution_id: Annotated[int, Meta(ge=1, le=2**63 - 1, description="Our id of the institution.")]


class InstitutionShown(Wire):
    """A bank or card issuer."""

    id: Annotated[int, Meta(description="Our id.")]
    name: Annotated[str, Meta(description="Its name.")]
    url: Annotated[str, Meta(description='Its home page; "" where unknown, as below.')]
    sign_in_url: Annotated[str, Meta(description="Where its customers sign in.")]
    phone: Annotated[str, Meta(description="Its phone number.")]
    email: Annotated[str, Meta(description="Its e-mail address.")]
    account_types: Annotated[list[AccountClass], Meta(description="The kinds of accounts it has.")]
    currency: Annotated[str, Meta(description="Its usual currency, ISO 4217.")]
    status: Annotated[
        str,
        Meta(
            description="online, validated, testing, beta and migrating work; offline and maintenance do not now; gone is not"
            " offered any more, and found by its id only. The aggregator may have other words."
        ),
    ]
    is_oauth: Annotated[bool, Meta(description="Whether one signs in at the bank's own page.")]
    time_zone: Annotated[str | None, Meta(description="Its time zone, an IANA name; null where unknown: UTC counts.")]
    sign_in_again_until: Annotated[
        date | None,
        Meta(description="The day until which its bank accounts have to be signed in to again; null: no need."),
    ]


class InstitutionAnswer(Wire):
    """One institution."""

    institution: InstitutionShown


class InstitutionsAnswer(Wire):
    """A page of institutions; nextCursor is null on the last one."""

    institutions: list[InstitutionShown]
    next_cursor: str | None


class _ByName(msgspec.Struct, array_like=True):
    """Where a list by name goes on."""

    name: str
    id: int


class _Found(msgspec.Struct, array_like=True):
    """Where a search goes on: how many were seen of what it found."""

    skip: Annotated[int, Meta(ge=1, lt=MOST_FOUND)]


async def list_institutions(call: Call, params: InstitutionsWanted) -> InstitutionsAnswer:
    """Search institutions, or list them by name."""
    accept = _filter(params)
    if params.search.strip():
        return await _search(call, params, accept)
    after = read_cursor(params.cursor, _ByName) if params.cursor else None
    key = None if after is None else (after.name, after.id)
    found = await call.services.catalogue.list_by_name(after=key, limit=params.limit + 1, accept=accept)
    page = found[: params.limit]
    cursor = write_cursor(_ByName(*key_of(page[-1]))) if len(found) > params.limit else None
    return InstitutionsAnswer(institutions=[_show(each) for each in page], next_cursor=cursor)


async def get_institution(call: Call, params: InstitutionWanted) -> InstitutionAnswer:
    """Read one institution."""
    found = await call.services.catalogue.get(params.institution_id)
    if found is None:
        raise NotFound(f"there is no institution {params.institution_id}")
    return InstitutionAnswer(institution=_show(found))


async def _search(
    call: Call, params: InstitutionsWanted, accept: Callable[[Institution], bool] | None
) -> InstitutionsAnswer:
    skip = read_cursor(params.cursor, _Found).skip if params.cursor else 0
    limit = min(params.limit, MOST_FOUND - skip)
    found = await call.services.catalogue.search(params.search, limit=limit + 1, skip=skip, accept=accept)
    has_more = len(found) > limit and skip + limit < MOST_FOUND
    cursor = write_cursor(_Found(skip + limit)) if has_more else None
    return InstitutionsAnswer(institutions=[_show(each) for each in found[:limit]], next_cursor=cursor)


def _filter(params: InstitutionsWanted) -> Callable[[Institution], bool] | None:
    account_type, is_oauth = params.account_type, params.is_oauth
    if account_type is None and is_oauth is None:
        return None
    return lambda each: (
        (account_type is None or account_type in each.account_types)
        and is_oauth
        in (
            None,
            each.is_oauth,
        )
    )


def _show(found: Institution) -> InstitutionShown:
    return InstitutionShown(
        id=found.id,
        name=found.name,
        url=found.url,
        sign_in_url=found.sign_in_url,
        phone=found.phone,
        email=found.email,
        account_types=[AccountClass(each) for each in found.account_types],
        currency=found.currency,
        status=found.status,
        is_oauth=found.is_oauth,
        time_zone=found.time_zone,
        sign_in_again_until=found.migrates_until,
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/institutions",
        handle=list_institutions,
        summary="Search institutions",
        text="By a part of the name or by URL, the best match first; without `search` by name.",
        tag="Institutions",
        scope=Scope.CLIENTS_READ,
        params=InstitutionsWanted,
        answer=InstitutionsAnswer,
    ),
    Route(
        method="GET",
        path="/institutions/{institutionId}",
        handle=get_institution,
        summary="Read an institution",
        tag="Institutions",
        scope=Scope.CLIENTS_READ,
        params=InstitutionWanted,
        answer=InstitutionAnswer,
    ),
)
