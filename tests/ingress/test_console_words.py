"""How the console says how a connection stands."""

import doctest
from dataclasses import replace
from typing import Any

import pytest

from bankfeed.db.console import ShownConnection
from bankfeed.model import ClientId, ConnectionId
from ingress.console import words as module
from ingress.console.words import Helps, describe_asking, describe_standing, describe_update, find_helps, read_meaning

BOTH, NEITHER = Helps(repair=True, refresh=True), Helps(repair=False, refresh=False)
REPAIR, REFRESH = Helps(repair=True, refresh=False), Helps(repair=False, refresh=True)


def connection(**changes: Any) -> ShownConnection:
    usual = ShownConnection(
        id=ConnectionId(1),
        client_id=ClientId(1),
        institution="FinBank",
        state="active",
        status_code=0,
        code_repeats=1,
        failures=0,
        is_updating=False,
        age_s=10.0,
        next_s=3600.0,
    )
    return replace(usual, **changes)


@pytest.mark.parametrize(
    ("changes", "label", "sentence", "who"),
    [
        ({}, "All Data Received", "", ""),
        (
            {"status_code": None, "age_s": None},
            "linking",
            "The first update from the bank has not finished yet.",
            "between us",
        ),
        ({"failures": 2}, "trying again", "The latest update could not be finished", "between us"),
        (
            {"state": "waiting", "status_code": 905},
            "waiting",
            "The bank's site is down or under maintenance.",
            "The bank acts",
        ),
        (
            {"state": "waiting", "status_code": 127, "code_repeats": 3},
            "waiting",
            "The bank's service failed several times in a row; support looks into it.",
            "We act",
        ),
        (
            {"state": "needs_person", "status_code": 103, "failures": 2},
            "needs you",
            "The bank refused the user name or password; enter them again.",
            "The account holder acts: sign in",
        ),
        (
            {"state": "needs_person", "status_code": 185},
            "needs you",
            "asks a security question",
            "answer the bank here",
        ),
        ({"state": "needs_person", "status_code": 108}, "needs you", "A message waits", "at the bank's own site first"),
        (
            {"state": "unsupported", "status_code": 950},
            "not supported",
            "This bank or account cannot be connected.",
            "between us",
        ),
    ],
)
def test_a_connections_standing_is_its_cause_and_who_acts(
    changes: dict[str, object], label: str, sentence: str, who: str
) -> None:
    """Each state has a label; where not all is well, the cause and who has to act."""
    standing = describe_standing(connection(**changes))
    assert label == standing.label
    assert sentence in standing.sentence
    assert who in standing.who
    assert bool(sentence) == bool(standing.sentence) == bool(standing.who)


@pytest.mark.parametrize(
    ("changes", "helps"),
    [
        ({}, REFRESH),
        ({"state": "needs_person", "status_code": 103}, REPAIR),
        ({"state": "needs_person", "status_code": 185}, REPAIR),
        ({"state": "needs_person", "status_code": 108}, BOTH),
        ({"state": "needs_person", "status_code": 947}, REPAIR),
        ({"state": "needs_person", "status_code": 949}, NEITHER),
        ({"state": "needs_person", "status_code": 169}, REFRESH),
        ({"state": "waiting", "status_code": 905}, REFRESH),
        ({"state": "waiting", "status_code": 127, "code_repeats": 3}, BOTH),
        ({"state": "unsupported", "status_code": 950}, NEITHER),
    ],
)
def test_the_buttons_are_those_that_help(changes: dict[str, object], helps: Helps) -> None:
    """A bank that waits for its account holder is not asked in vain, and what works is not repaired."""
    assert helps == find_helps(read_meaning(connection(**changes)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"asked_state": "waiting"}, "The bank will be asked in a moment."),
        ({"asked_state": "running"}, "The bank is being asked; this may take some minutes."),
        ({"asked_state": "running", "asked_is_fetching": True}, "The bank has answered; what is new is being fetched."),
        (
            {"asked_state": "done", "asked_age_s": 90.0},
            "The bank was asked 1 minute ago; it can be asked again in 3 minutes.",
        ),
        ({"asked_state": "done", "asked_age_s": 301.0}, "The bank was asked 5 minutes ago."),
        ({"asked_state": "done", "asked_age_s": 600.0}, ""),
        (
            {"asked_state": "failed", "asked_age_s": 9.0, "asked_message": "It is away."},
            "Asked the bank just now: It is away.",
        ),
        ({"asked_state": "failed", "asked_age_s": 9.0, "asked_message": "x", "asked_code": 103}, ""),
    ],
)
def test_a_click_on_refresh_is_answered_in_words(changes: dict[str, object], words: str) -> None:
    """The row tells how far asking the bank is; what failed with a code is what the state says."""
    assert words == describe_asking(connection(**changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "updated just now; next in 1 hour at the latest"),
        ({"age_s": 60.0, "next_s": 86_399.0}, "updated 1 minute ago; next in 23 hours at the latest"),
        ({"age_s": 172_800.0, "next_s": -5.0}, "updated 2 days ago; next in a moment at the latest"),
        ({"next_s": None}, "updated just now"),
        ({"age_s": None, "is_updating": True}, "not updated yet; an update is under way"),
    ],
)
def test_ages_are_said_roughly(changes: dict[str, object], words: str) -> None:
    """Ages and times ahead are said in the largest unit that fits."""
    assert words == describe_update(connection(**changes))


def test_the_examples_in_the_docstrings_hold() -> None:
    """What the docstrings show is so."""
    found = doctest.testmod(module)
    assert (0, True) == (found.failed, found.attempted > 0)
