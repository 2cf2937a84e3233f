"""The institutions that Finbank pretends to be. Pure: a table and its search."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Institution:
    """One institution. `time_zone` is an IANA name, `kind` what sort of accounts it has. Not every one is a FinBank."""

    id: int
    name: str
    time_zone: str
    phone: str
    url: str
    kind: str = "Banking"
    city: str = "Boise"
    state: str = "ID"
    status: str = "online"
    is_oauth: bool = False


INSTITUTIONS = (
    Institution(
        id=101732,
        name="FinBank",
        time_zone="America/Denver",
        phone="1-208-555-0132",
        url="https://finbank.example",
    ),
    Institution(
        id=102105,
        name="FinBank Profiles - A",
        time_zone="America/New_York",
        phone="1-212-555-0105",
        url="https://profiles-a.finbank.example",
        city="Albany",
        state="NY",
    ),
    Institution(
        id=102168,
        name="FinBank Cards",
        time_zone="America/Chicago",
        phone="1-312-555-0168",
        url="https://cards.finbank.example",
        kind="Credit Cards/Accounts",
        city="Chicago",
        state="IL",
    ),
    Institution(
        id=102176,
        name="FinBank West",
        time_zone="America/Los_Angeles",
        phone="1-503-555-0176",
        url="https://west.finbank.example",
        city="Portland",
        state="OR",
        is_oauth=True,
    ),
    Institution(
        id=102224,
        name="FinBank Pacific",
        time_zone="Pacific/Honolulu",
        phone="1-808-555-0124",
        url="https://pacific.finbank.example",
        city="Honolulu",
        state="HI",
        status="maintenance",
    ),
    Institution(
        id=102230,
        name="FinBank Retirement",
        time_zone="America/New_York",
        phone="1-617-555-0130",
        url="https://retirement.finbank.example",
        kind="Workplace Retirement",
        city="Boston",
        state="MA",
    ),
    Institution(
        id=102232,
        name="FinBank Home Loans",
        time_zone="America/Denver",
        phone="1-303-555-0132",
        url="https://loans.finbank.example",
        kind="Mortgages and Loans",
        city="Denver",
        state="CO",
        status="offline",
    ),
    Institution(
        id=170703,
        name="Prairie Credit Union",
        time_zone="America/Chicago",
        phone="1-402-555-0103",
        url="https://prairie.finbank.example",
        city="Omaha",
        state="NE",
    ),
)

BY_ID = {institution.id: institution for institution in INSTITUTIONS}


def search(text: str) -> tuple[Institution, ...]:
    """List the institutions whose name holds every word of the text, whatever the case; all for an empty text."""
    words = text.casefold().split()
    return tuple(i for i in INSTITUTIONS if all(word in i.name.casefold() for word in words))
