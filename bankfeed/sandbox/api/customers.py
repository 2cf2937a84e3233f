"""Customers of the partner: test customers only, found by username or by a part of it."""

import re
from typing import Any

import msgspec
from aiohttp import web

from bankfeed.sandbox.api.exchange import BANK, answer, page_bounds, path_id, read_body
from bankfeed.sandbox.refusals import Refusal, missing_parameter
from bankfeed.sandbox.wire import customer_json, epoch

USERNAME = re.compile(r"[A-Za-z0-9!@.#$%&*_+-]{6,255}")


class NewCustomer(msgspec.Struct, rename="camel"):
    """What a partner says of a new customer."""

    username: str = ""
    first_name: str = ""
    last_name: str = ""
    phone: str = ""
    email: str = ""


async def add_testing_customer(request: web.Request) -> web.Response:
    """Take in a customer."""
    new = await read_body(request, NewCustomer)
    if not new.username:
        raise missing_parameter("username")
    if not USERNAME.fullmatch(new.username):
        raise Refusal(400, 110039, "Username is not as per the policy.")
    names = {"first_name": new.first_name, "last_name": new.last_name, "phone": new.phone, "email": new.email}
    customer = request.app[BANK].add_customer(new.username, **names)
    body = {"id": str(customer.id), "username": customer.username, "createdDate": epoch(customer.created_at)}
    return answer(body, status=201)


async def list_customers(request: web.Request) -> web.Response:
    """List customers, by exact username or by a part of it; `start` is a record number."""
    start, limit = page_bounds(request)
    wanted = _wanted(request)
    page = wanted[start - 1 : start - 1 + limit]
    return answer(
        {
            "found": len(wanted),
            "displaying": len(page),
            "moreAvailable": start - 1 + len(page) < len(wanted),
            "customers": page,
        }
    )


async def show_customer(request: web.Request) -> web.Response:
    """Show one customer."""
    return answer(customer_json(request.app[BANK].customer(path_id(request, "customer"))))


async def delete_customer(request: web.Request) -> web.Response:
    """Forget a customer with everything linked."""
    customer = request.app[BANK].customer(path_id(request, "customer"))
    request.app[BANK].delete_customer(customer.id)
    return web.Response(status=204)


def _wanted(request: web.Request) -> list[dict[str, Any]]:
    username, text = request.query.get("username", ""), request.query.get("search", "").casefold()
    kind = request.query.get("type", "")
    if kind not in {"", "testing", "active"}:
        raise Refusal(400, 14016, "Invalid customer type.")
    return [
        customer_json(customer)
        for customer in request.app[BANK].pages.customers.values()
        if username in {"", customer.username}
        and text in f"{customer.username} {customer.first_name} {customer.last_name}".casefold()
        and kind != "active"
    ]


def routes() -> list[web.RouteDef]:
    """List the routes of this noun."""
    return [
        web.post("/aggregation/v2/customers/testing", add_testing_customer),
        web.get("/aggregation/v1/customers", list_customers),
        web.get(r"/aggregation/v1/customers/{customer:\d+}", show_customer),
        web.delete(r"/aggregation/v1/customers/{customer:\d+}", delete_customer),
    ]
