"""Which line a connection's standing is in its history, and what each line says."""

import pytest

from bankfeed.health import MEANINGS, Actor, ConnectionState, read_code
from bankfeed.history import HistoryKind, describe_line, find_line

CHALLENGES = (185, 187, 331, 931, 938, 940, 971)


@pytest.mark.parametrize("code", CHALLENGES)
def test_what_the_holder_answers_needs_mfa(code: int) -> None:
    """A question, a code, a time that ran out: the account holder answers the bank."""
    assert HistoryKind.NEEDS_MFA is find_line(ConnectionState.NEEDS_PERSON, read_code(code))


@pytest.mark.parametrize("code", [103, 108, 109, 945, 948, 961])
def test_every_other_break_is_broken(code: int) -> None:
    """Credentials, consent, a visit at the bank's own site."""
    assert HistoryKind.BROKEN is find_line(ConnectionState.NEEDS_PERSON, read_code(code))


def test_every_code_of_a_person_is_one_of_both() -> None:
    """A code that needs a person has a line, and only a challenge needs MFA."""
    for code, meaning in MEANINGS.items():
        if meaning.state is ConnectionState.NEEDS_PERSON:
            is_challenge = meaning.actor is Actor.PERSON_CHALLENGE
            expected = HistoryKind.NEEDS_MFA if is_challenge else HistoryKind.BROKEN
            assert expected is find_line(meaning.state, meaning), code


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        (ConnectionState.ACTIVE, 0, HistoryKind.RECONNECTED),
        (ConnectionState.ACTIVE, 101, HistoryKind.RECONNECTED),  # another account of the login has it
        (ConnectionState.UNSUPPORTED, 920, HistoryKind.BROKEN),
        (ConnectionState.UNSUPPORTED, None, HistoryKind.BROKEN),
        (ConnectionState.WAITING, 101, None),
        (ConnectionState.WAITING, None, None),
        (ConnectionState.CLOSED, None, None),
    ],
)
def test_the_state_decides_the_rest(state: ConnectionState, code: int | None, expected: HistoryKind | None) -> None:
    """Active mends, unsupported breaks, and what is waited out says nothing."""
    assert expected is find_line(state, read_code(code))


@pytest.mark.parametrize(
    ("kind", "code", "expected"),
    [
        (HistoryKind.ADDED, None, "The bank account was linked."),
        (HistoryKind.BROKEN, 103, MEANINGS[103].words),
        (HistoryKind.BROKEN, None, "This bank or account cannot be connected."),
        (HistoryKind.NEEDS_MFA, 185, MEANINGS[185].words),
        (HistoryKind.RECONNECTED, 0, "All Data Received"),
        (HistoryKind.REFRESHED, 0, "All Data Received"),
        (HistoryKind.REFRESHED, None, "All Data Received"),
        (HistoryKind.REFRESHED, 905, MEANINGS[905].words),
        (HistoryKind.DELETED, None, "The bank account is no longer linked; its history is kept."),
    ],
)
def test_a_line_says_what_its_code_meant(kind: HistoryKind, code: int | None, expected: str) -> None:
    """In the words of the code of that moment; linking and deleting in their own."""
    assert expected == describe_line(kind, code)


def test_every_kind_has_words() -> None:
    """No line is silent."""
    assert all(describe_line(kind, None) for kind in HistoryKind)
