"""The customer itself: its name, and what it sees of rows that the bank no longer reports."""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from bankfeed.db.customer import Customer, get_customer, update_customer
from bankfeed.errors import BadRequest
from bankfeed.model import ShadowPolicy
from ingress.api.call import Call
from ingress.api.route import Body, NoParams, Route, Scope, Wire, version_conflict
from ingress.api.sign_in import FirmName

TAG: Final = "Customer"
Policy = Annotated[
    ShadowPolicy,
    Meta(description="What is seen of transactions that the bank no longer reports, from the next pull on."),
]


class CustomerRow(Wire):
    """A firm."""

    id: int
    name: str
    environment: Literal["sandbox", "live"]
    shadow_policy: Policy
    created_at: datetime
    version: int


class CustomerAnswer(Wire):
    """One's own firm."""

    customer: CustomerRow


class CustomerChange(Body):
    """What is to change; what is not given stays."""

    name: FirmName | msgspec.UnsetType = msgspec.UNSET
    shadow_policy: Policy | msgspec.UnsetType = msgspec.UNSET
    version: Annotated[int, Meta(ge=1, le=2**31 - 1, description="Change this version only.")] | None = None


async def get_own_customer(call: Call, _: NoParams) -> CustomerAnswer:
    """Answer whose people one belongs to."""
    return await _answer(call)


async def update_own_customer(call: Call, _: NoParams, body: CustomerChange) -> CustomerAnswer:
    """Change the customer's name or its rule for shadow rows."""
    name = None if isinstance(body.name, msgspec.UnsetType) else body.name.strip()
    policy = None if isinstance(body.shadow_policy, msgspec.UnsetType) else body.shadow_policy
    if name is None and policy is None:
        raise BadRequest("expected name or shadowPolicy to change")
    if not await update_customer(call.conn, call.customer_id, name=name, shadow_policy=policy, version=body.version):
        raise version_conflict((await get_customer(call.conn, call.customer_id)).version)
    return await _answer(call)


async def _answer(call: Call) -> CustomerAnswer:
    return CustomerAnswer(customer=_show(await get_customer(call.conn, call.customer_id)))


def _show(customer: Customer) -> CustomerRow:
    return CustomerRow(
        id=customer.id,
        name=customer.name,
        environment="live" if customer.environment == "live" else "sandbox",
        shadow_policy=ShadowPolicy(customer.shadow_policy),
        created_at=customer.created_at,
        version=customer.version,
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/customer",
        handle=get_own_customer,
        summary="Your firm",
        tag=TAG,
        scope=Scope.SELF,
        answer=CustomerAnswer,
        is_versioned=True,
    ),
    Route(
        method="PATCH",
        path="/customer",
        handle=update_own_customer,
        summary="Change your firm's name or rule for shadow rows",
        tag=TAG,
        scope=Scope.PEOPLE_WRITE,
        body=CustomerChange,
        answer=CustomerAnswer,
        errors={"version_conflict": 409},
        is_versioned=True,
    ),
)
