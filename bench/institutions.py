"""Institutions with names like real ones, as many as are wanted, the same ones every time."""

import random
from itertools import count

from bankfeed.finding import Entry

KNOWN = (
    "Chase",
    "JPMorgan Chase Bank",
    "Wells Fargo",
    "Bank of America",
    "Citibank",
    "Capital One",
    "U.S. Bank",
    "PNC Bank",
    "Navy Federal Credit Union",
    "USAA",
    "American Express",
    "TD Bank",
    "M&T Bank",
    "Charles Schwab",
    "Crédit Agricole",
    "Macy's Credit Card",
)
_PLACES = (
    *(
        "Omaha",
        "Springfield",
        "Lincoln",
        "Madison",
        "Franklin",
        "Clinton",
        "Georgetown",
        "Salem",
        "Fairview",
        "Arlington",
    ),
    *("Burlington", "Milton", "Newport", "Oxford", "Dover", "Hudson", "Kingston", "Riverside", "Dayton", "Lexington"),
)
_SYLLABLES = (
    *("bar", "ton", "ville", "wes", "chel", "sea", "mont", "ridge", "field", "ham", "lo", "ver", "mar", "quin", "cy"),
    *("del", "ta", "har", "ris", "burg", "ken", "wood", "nor", "sun", "lake", "pine", "oak"),
)
_KINDS = (
    *(
        "{} Bank",
        "{} National Bank",
        "{} State Bank",
        "{} Credit Union",
        "{} Federal Credit Union",
        "{} Community Bank",
    ),
    *(
        "{} Savings Bank",
        "{} Bank & Trust",
        "Bank of {}",
        "First National Bank of {}",
        "Farmers & Merchants Bank of {}",
    ),
    *("{} Municipal Employees Credit Union", "{} Teachers Federal Credit Union"),
)


def make_entries(size: int) -> list[Entry]:
    """Make so many entries, the known ones first; one in twenty is offline. Ids count from 1."""
    rng = random.Random(7)
    names = dict.fromkeys(KNOWN)
    while len(names) < size:
        names[_make_name(rng)] = None
    return [
        Entry(id=n, name=name, url=f"https://www.{_make_host(name)}/login", is_online=n % 20 != 0)
        for n, name in zip(count(1), names, strict=False)
    ]


def _make_name(rng: random.Random) -> str:
    place = rng.choice(_PLACES) if rng.random() < 0.4 else "".join(rng.choices(_SYLLABLES, k=rng.randint(2, 4))).title()
    name = rng.choice(_KINDS).format(place)
    return f"{name} - {rng.choice(('Business', 'Personal', 'Cards'))}" if rng.random() < 0.3 else name


def _make_host(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum() and letter.isascii()) + ".example"


def misspell(name: str, rng: random.Random) -> str:
    """Return what somebody may type who looks for a name: some of it, with up to two slips."""
    letters = list(name[: rng.randint(3, len(name))])
    for _ in range(rng.randint(0, 2)):
        at = rng.randrange(len(letters) - 1)
        match rng.choice(("swap", "drop", "other")):
            case "swap":
                letters[at : at + 2] = reversed(letters[at : at + 2])
            case "drop":
                del letters[at]
            case _:
                letters[at] = rng.choice("abcdefghijklmnoprstuvwy")
    return "".join(letters)
