"""Deleting at Finicity: the documented paths, and which refusals say that there is nothing to delete."""

from collections.abc import Awaitable, Callable

import pytest

from bankfeed.aggregators.finicity import Finicity
from bankfeed.errors import AggregatorError, NoSuchAccount
from tests.story.finicity.fake import Handler, Server, fault, says

CUSTOMER = "/aggregation/v1/customers/5"
CASES: list[tuple[str, Callable[[Finicity], Awaitable[None]]]] = [
    (f"{CUSTOMER}/accounts/900", lambda finicity: finicity.delete_account("5", "900")),
    (f"{CUSTOMER}/institutionLogins/77", lambda finicity: finicity.delete_login("5", "77")),
    (CUSTOMER, lambda finicity: finicity.delete_customer("5")),
]


@pytest.mark.parametrize(("path", "delete"), CASES)
async def test_each_is_deleted_by_its_path(
    server: Server, finicity: Finicity, path: str, delete: Callable[[Finicity], Awaitable[None]]
) -> None:
    """One DELETE without a body, with the key and the token; 204 is enough."""
    server.on(path, says("", 204))
    await delete(finicity)
    asked = server.asked[-1]
    assert ("DELETE", path, None) == (asked.method, asked.path, asked.body)
    assert ("k3y", "t1") == (asked.headers["Finicity-App-Key"], asked.headers["Finicity-App-Token"])


@pytest.mark.parametrize("code", [14001, 38003, 38006, 38007])
@pytest.mark.parametrize(("path", "delete"), CASES)
async def test_what_is_not_there_is_told(
    server: Server, finicity: Finicity, path: str, delete: Callable[[Finicity], Awaitable[None]], code: int
) -> None:
    """A 404 with a code for no such customer, account or login is NoSuchAccount."""
    server.on(path, fault(404, code))
    with pytest.raises(NoSuchAccount):
        await delete(finicity)


@pytest.mark.parametrize(
    "answer", [fault(503, 99), fault(400, 50016), fault(404, 12401), says("<html>Not Found</html>", 404), says("", 302)]
)
@pytest.mark.parametrize(("path", "delete"), CASES)
async def test_any_other_refusal_is_no_deletion(
    server: Server, finicity: Finicity, path: str, delete: Callable[[Finicity], Awaitable[None]], answer: Handler
) -> None:
    """A gateway's own 404, or any other status, does not say that it is gone."""
    server.on(path, answer)
    with pytest.raises(AggregatorError) as raised:
        await delete(finicity)
    assert not isinstance(raised.value, NoSuchAccount)
