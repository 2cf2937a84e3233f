"""Whom a firm has told by e-mail, and how often."""

import pytest

from tests.ingress.api.conftest import Person

PATH = "/customer/notifications"
OFFICE = {"email": "office@firm.example", "everyHours": 24, "clientsEveryHours": 168}
NOBODY = {"email": "", "everyHours": None, "clientsEveryHours": None}


async def test_nobody_is_told_until_the_owner_says_so(api: Person, other: Person) -> None:
    """Off by default; what is chosen is kept, cleaned, of one's own firm only, and can be taken back."""
    first = (await api.get(PATH)).body["notifications"]
    assert NOBODY | {"isSending": False} == first
    chosen = await api.ask("PUT", PATH, OFFICE | {"email": " Office@Firm.Example "})
    assert (200, OFFICE | {"isSending": False}) == (chosen.status, chosen.body["notifications"])
    assert chosen.body["notifications"] == (await api.get(PATH)).body["notifications"]
    assert first == (await other.get(PATH)).body["notifications"]
    assert first == (await api.ask("PUT", PATH, NOBODY)).body["notifications"]


async def test_only_owners_see_and_choose(employee: Person, reader: Person) -> None:
    """Where the firm's mail goes is not for everybody."""
    for person in (employee, reader):
        assert [403, 403] == [(await person.get(PATH)).status, (await person.ask("PUT", PATH, OFFICE)).status]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"email": "office"}, "email"),
        ({"email": "a@firm.example\r\nBcc: b@firm.example"}, "email"),
        ({"email": "", "everyHours": 1}, "email"),
        ({"email": "a" * 250 + "@firm.example"}, "email"),
        ({"everyHours": 0}, "everyHours"),
        ({"everyHours": 721}, "everyHours"),
        ({"clientsEveryHours": 1.5}, "clientsEveryHours"),
        ({"clientsEveryHours": 0}, "clientsEveryHours"),
        ({"clients": 1}, "clients"),
    ],
)
async def test_what_does_not_fit_is_refused(wrong: dict[str, object], field: str, api: Person) -> None:
    """Addresses that are none, hours out of bounds, a frequency without an address: refused, naming the field."""
    await api.ask("PUT", PATH, OFFICE)
    said = await api.ask("PUT", PATH, OFFICE | wrong)
    assert (422, field) == (said.status, said.body.get("field"))
    assert OFFICE | {"isSending": False} == (await api.get(PATH)).body["notifications"]


async def test_all_of_it_has_to_be_given(api: Person) -> None:
    """A PUT says everything: what is left out is no choice."""
    for name in OFFICE:
        assert 422 == (await api.ask("PUT", PATH, {key: OFFICE[key] for key in OFFICE if key != name})).status
