"""The institutions that Finbank pretends to be. Pure: a table, what became of its entries, and its search."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class InstitutionStatus(StrEnum):
    """Whether an institution can be reached, in the aggregator's words."""

    ONLINE = "online"
    OFFLINE = "offline"
    MAINTENANCE = "maintenance"
    MIGRATING = "migrating"


@dataclass(frozen=True, slots=True, kw_only=True)
class Institution:
    """One institution. `time_zone` is an IANA name, `kind` what sort of accounts it has. Not every one is a FinBank.

    `is_oauth` says that people sign in on a page of its own, `is_migrated` that this has become so while there were
    logins; `until` is when a migration ends. `asks_everything` adds what the support script asks for.
    """

    id: int
    name: str
    time_zone: str
    phone: str
    url: str
    kind: str = "Banking"
    city: str = "Boise"
    state: str = "ID"
    status: InstitutionStatus = InstitutionStatus.ONLINE
    is_oauth: bool = False
    is_migrated: bool = False
    until: datetime | None = None
    asks_everything: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What became of an institution since the table was written. `until` counts while it is migrating."""

    status: InstitutionStatus = InstitutionStatus.ONLINE
    until: datetime | None = None
    is_migrated: bool = False

    def of(self, institution: Institution, *, at: datetime) -> Institution:
        """Return the institution as it stands at an instant; a migration that ended leaves it online."""
        is_over = self.until is not None and at >= self.until
        return replace(
            institution,
            status=InstitutionStatus.ONLINE if is_over else self.status,
            until=None if is_over else self.until,
            is_oauth=institution.is_oauth or self.is_migrated,
            is_migrated=self.is_migrated,
        )


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
        status=InstitutionStatus.MAINTENANCE,
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
        status=InstitutionStatus.OFFLINE,
    ),
    Institution(
        id=102241,
        name="FinBank Token & Questions",
        time_zone="America/New_York",
        phone="1-410-555-0141",
        url="https://token.finbank.example",
        city="Baltimore",
        state="MD",
        asks_everything=True,
    ),
    Institution(
        id=102252,
        name="FinBank Heritage",
        time_zone="America/Chicago",
        phone="1-314-555-0152",
        url="https://heritage.finbank.example",
        city="Saint Louis",
        state="MO",
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


def search(text: str, among: Iterable[Institution] = INSTITUTIONS) -> tuple[Institution, ...]:
    """List the institutions whose name holds every word of the text, whatever the case; all for an empty text."""
    words = text.casefold().split()
    return tuple(i for i in among if all(word in i.name.casefold() for word in words))
