"""What aggregation status codes mean, against the catalogue."""

import pytest

from bankfeed.health import ESCALATED_AFTER, MEANINGS, Actor, ConnectionState, describe, read_code

FIXABLE = {103, 108, 109, 185, 187, 945, 946, 947, 948}
CATALOGUE = (
    {0, 101, 102, 104, 105, 103, 106, 107, 108, 109, 169, 170, 185, 187, 320, 580, 324, 403, 325, 5006, 331, 931, 936}
    | {171, 179, 194, 197, 204, 417, 500, 525, 11000, 307}
    | set(range(900, 912))
    | {913, 914, 915, 916}
    | set(range(920, 930))
    | {938, 940, 971, 945, 946, 947, 948, 949, 950, 952, 955, 959, 960, 961, 972, 973, 975, 976, 977, 2032, 38053}
    | {44000, 44002, 1008, 10814, 12003, 50025, 20007, 20008, 20009}
)


def test_the_catalogue_is_complete() -> None:
    """Every documented code has a meaning, each code one, and no code is made up."""
    assert set(MEANINGS) == CATALOGUE


@pytest.mark.parametrize(
    ("code", "state", "actor"),
    [
        (0, ConnectionState.ACTIVE, Actor.NOBODY),
        (103, ConnectionState.NEEDS_PERSON, Actor.PERSON),
        (185, ConnectionState.NEEDS_PERSON, Actor.PERSON),
        (931, ConnectionState.NEEDS_PERSON, Actor.PERSON),
        (102, ConnectionState.WAITING, Actor.INSTITUTION),
        (905, ConnectionState.WAITING, Actor.INSTITUTION),
        (325, ConnectionState.WAITING, Actor.AGGREGATOR),
        (901, ConnectionState.WAITING, Actor.AGGREGATOR),
        (977, ConnectionState.WAITING, Actor.US),
        (913, ConnectionState.CLOSED, Actor.NOBODY),
        (926, ConnectionState.UNSUPPORTED, Actor.AGGREGATOR),
    ],
)
def test_codes_say_who_acts(code: int, state: ConnectionState, actor: Actor) -> None:
    """Each group of codes leads to its state and to the one who can change it."""
    assert (read_code(code).state, read_code(code).actor) == (state, actor)


@pytest.mark.parametrize("code", [123, 125, 999_999, -1])
def test_an_unknown_code_is_waited_out(code: int) -> None:
    """A code that nobody documents asks nothing of a person: it is tried again."""
    assert read_code(code).state is ConnectionState.WAITING
    assert read_code(code).is_retryable


def test_an_unlisted_code_that_comes_again_and_again_is_for_support() -> None:
    """From the third refresh in a row on we look at it; nothing is asked of a person, and a listed code stays what it is."""
    few, many = (read_code(424242, repeats=repeats) for repeats in (ESCALATED_AFTER - 1, ESCALATED_AFTER))
    assert (Actor.AGGREGATOR, Actor.US) == (few.actor, many.actor)
    assert many.state is ConnectionState.WAITING
    assert many.is_retryable
    assert many == describe(ConnectionState.WAITING, 424242, is_received=True, repeats=ESCALATED_AFTER)
    assert read_code(103) is read_code(103, repeats=ESCALATED_AFTER)


def test_no_code_means_not_yet() -> None:
    """An account before its first aggregation waits."""
    assert read_code(None).state is ConnectionState.WAITING
    assert read_code(None).is_retryable


def test_the_widget_repairs_what_its_maker_lists() -> None:
    """The nine codes that the aggregator's repair widget resolves are marked, and each needs a person."""
    assert {code for code, meaning in MEANINGS.items() if meaning.is_fixable} == FIXABLE
    assert {read_code(code).state for code in FIXABLE} == {ConnectionState.NEEDS_PERSON}


def test_only_a_delay_is_worth_asking_again() -> None:
    """What needs a person, is closed or unsupported is not retried; what works or waits on others is."""
    for code, meaning in MEANINGS.items():
        is_stuck = meaning.state in {ConnectionState.NEEDS_PERSON, ConnectionState.CLOSED, ConnectionState.UNSUPPORTED}
        assert meaning.is_retryable is not is_stuck or code in {20007, 20008, 20009}


def test_words_are_one_sentence() -> None:
    """The words of every code are one sentence that a person can read."""
    for meaning in MEANINGS.values():
        assert meaning.words[0].isupper()
        assert meaning.words.endswith(".")
        assert meaning.words.count(". ") == 0


def test_every_code_says_what_to_do() -> None:
    """What the person can do is said for every code, and never the same for who must act and who must wait."""
    for meaning in MEANINGS.values():
        assert meaning.todo[0].isupper()
        assert meaning.todo.endswith(".")
    waits = {meaning.todo for meaning in MEANINGS.values() if meaning.state is ConnectionState.WAITING}
    acts = {meaning.todo for meaning in MEANINGS.values() if meaning.state is ConnectionState.NEEDS_PERSON}
    assert not waits & acts


@pytest.mark.parametrize("code", [0, None])
def test_received_data_reads_as_people_know_it(code: int | None) -> None:
    """Code 0, or none, after a success reads "All Data Received"; before one it does not."""
    assert "All Data Received" == describe(ConnectionState.ACTIVE, code, is_received=True).words
    assert "All Data Received" != describe(ConnectionState.ACTIVE, code, is_received=False).words


def test_a_standing_says_its_code_unless_it_is_closed() -> None:
    """Data that came earlier does not hide a code; a connection that is closed has only that to say."""
    assert read_code(103) is describe(ConnectionState.NEEDS_PERSON, 103, is_received=True)
    closed = describe(ConnectionState.CLOSED, 103, is_received=True)
    assert (ConnectionState.CLOSED, Actor.NOBODY) == (closed.state, closed.actor)
