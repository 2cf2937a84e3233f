"""What status codes mean, against the two catalogues as their makers document them."""

from collections.abc import Mapping

import pytest

from bankfeed.health import (
    CATALOGUES,
    ESCALATED_AFTER,
    MEANINGS,
    YODLEE,
    Actor,
    Catalogue,
    ConnectionState,
    Meaning,
    Step,
    describe,
    list_meanings,
    read_code,
)

FIXABLE = {103, 108, 109, 185, 187, 945, 946, 947, 948}
UNEXPLAINED = {123, 125, 127, 128, 130}

# state, who acts, step of the repair: the codes
FINICITY_TABLE = """
active        nobody              none         0
waiting       institution         wait         101 102 104 105
needs_person  person_credentials  credentials  103
needs_person  person_at_bank      at_bank      106 107
needs_person  person_at_bank      at_bank      108
needs_person  person_at_bank      credentials  109
waiting       institution         wait         123 125 127 128 130
needs_person  person_credentials  delete       169
waiting       us                  wait         170
waiting       institution         wait         171 179 194 197 204 417 500 525 11000 307
needs_person  person_challenge    challenge    185
needs_person  person_challenge    challenge    187
waiting       institution         wait         320 580
needs_person  person_at_bank      at_bank      324 403
waiting       aggregator          wait         325 5006
needs_person  person_challenge    challenge    331
waiting       aggregator          wait         900
waiting       aggregator          wait         901 902 903 904
waiting       institution         wait         905 906 907
waiting       aggregator          wait         908 910 911
needs_person  person_at_bank      at_bank      909 952 955
closed        nobody              none         913
needs_person  person_at_bank      at_bank      914
waiting       aggregator          wait         915 916
unsupported   aggregator          none         920 921 922 923 926 927 929 924 925 928
needs_person  person_challenge    challenge    931
needs_person  person_at_bank      at_bank      936
needs_person  person_challenge    challenge    938 940 971
needs_person  person_credentials  consent      945
needs_person  person_credentials  consent      946
needs_person  person_credentials  consent      947
needs_person  person_credentials  consent      948
needs_person  person_credentials  link_again   949
unsupported   aggregator          none         950 960 972 973 975 976 2032
needs_person  person_at_bank      at_bank      959 961 38053
waiting       us                  wait         977 44000 44002
needs_person  person_credentials  credentials  1008
needs_person  person_credentials  link_again   10814 12003 50025
waiting       us                  wait         20007 20008 20009
"""
YODLEE_TABLE = """
active        nobody              none         0
waiting       aggregator          wait         801 802
active        nobody              none         811
needs_person  person_credentials  credentials  402 551
needs_person  person_credentials  credentials  410 420 526
needs_person  person_credentials  consent      506
needs_person  person_at_bank      at_bank      407
needs_person  person_at_bank      credentials  406
needs_person  person_at_bank      at_bank      427 428 429 521
needs_person  person_challenge    challenge    518 519 520 522 573
needs_person  person_challenge    challenge    509 523 524
needs_person  person_at_bank      at_bank      414
closed        nobody              none         422
waiting       institution         wait         423 570
waiting       institution         wait         508 525 553 554 555
waiting       institution         wait         409 424
waiting       institution         wait         401 412 418 425 431 432 556 558 571
waiting       institution         wait         415 416
waiting       aggregator          wait         426
unsupported   aggregator          none         411 417 421 430 505
waiting       aggregator          wait         507
waiting       us                  wait         400 403 404 408 413 419 517 552 557 559 560 561 572
waiting       us                  wait         576 577 578 579 601 708 709
needs_person  person_credentials  link_again   405
waiting       aggregator          wait         433 434 435 436 504 510 511 512 574 575
"""


def read_table(text: str) -> list[tuple[int, tuple[str, str, str]]]:
    lines = [line.split() for line in text.strip().splitlines()]
    return [(int(code), (state, actor, step)) for state, actor, step, *codes in lines for code in codes]


@pytest.mark.parametrize(("table", "catalogue"), [(FINICITY_TABLE, MEANINGS), (YODLEE_TABLE, YODLEE)])
def test_the_catalogues_are_complete(table: str, catalogue: Mapping[int, Meaning]) -> None:
    """Every documented code has its state, its actor and its step; no code is lost, none is made up, none is there twice."""
    rows = read_table(table)
    assert len(rows) == len(dict(rows))
    assert dict(rows) == {code: (each.state, each.actor, each.step) for code, each in catalogue.items()}


@pytest.mark.parametrize("catalogue", Catalogue)
def test_a_person_is_asked_where_a_person_is_needed(catalogue: Catalogue) -> None:
    """The state, the actor and the step of a code agree: a person's are a person's, and what is waited out is waited out."""
    for _, meaning in list_meanings(catalogue):
        assert meaning.actor.is_person == (meaning.state is ConnectionState.NEEDS_PERSON)
        assert (meaning.step is Step.WAIT) == (meaning.state is ConnectionState.WAITING)
        assert (meaning.step is Step.CHALLENGE) == (meaning.actor is Actor.PERSON_CHALLENGE)


@pytest.mark.parametrize(
    ("code", "same"), [(402, 103), (406, 109), (428, 108), (518, 185), (506, 948), (424, 905), (422, 913), (411, 920)]
)
def test_what_is_the_same_reads_the_same(code: int, same: int) -> None:
    """Where a Yodlee code says what a Finicity code says, people read the same."""
    assert read_code(code, catalogue=Catalogue.YODLEE) is read_code(same)


def test_a_number_means_what_its_catalogue_says() -> None:
    """403 is a person's at Finicity and support's at Yodlee; Finicity's is what is read without saying so."""
    assert (Actor.PERSON_AT_BANK, Actor.US) == (
        read_code(403).actor,
        read_code(403, catalogue=Catalogue.YODLEE).actor,
    )


@pytest.mark.parametrize("catalogue", Catalogue)
@pytest.mark.parametrize("code", [126, 999_999, -1])
def test_an_unknown_code_is_waited_out(code: int, catalogue: Catalogue) -> None:
    """A code that nobody documents asks nothing of a person: it is tried again."""
    meaning = read_code(code, catalogue=catalogue)
    assert (ConnectionState.WAITING, True, True) == (meaning.state, meaning.is_retryable, meaning.is_unexplained)


def test_the_five_without_a_public_meaning_are_the_banks() -> None:
    """They say that the bank's service failed, and are tried again."""
    assert {code for code, meaning in MEANINGS.items() if meaning.is_unexplained} == UNEXPLAINED
    for code in UNEXPLAINED:
        meaning = read_code(code)
        assert ("The bank's service failed.", True) == (meaning.words, meaning.is_retryable)


@pytest.mark.parametrize("code", [424242, *sorted(UNEXPLAINED)])
def test_an_unexplained_code_that_comes_again_and_again_is_for_support(code: int) -> None:
    """From the third refresh in a row on we look at it, and nothing is asked of a person."""
    few, many = (read_code(code, repeats=repeats) for repeats in (ESCALATED_AFTER - 1, ESCALATED_AFTER))
    assert few == read_code(code)
    assert Actor.US is many.actor is not few.actor
    assert (ConnectionState.WAITING, True) == (many.state, many.is_retryable)
    assert many == describe(ConnectionState.WAITING, code, is_received=True, repeats=ESCALATED_AFTER)


def test_an_explained_code_stays_what_it_is() -> None:
    """However often it comes."""
    for code, meaning in MEANINGS.items():
        assert code in UNEXPLAINED or read_code(code, repeats=ESCALATED_AFTER) is meaning


def test_no_code_means_not_yet() -> None:
    """An account before its first aggregation waits."""
    assert read_code(None).state is ConnectionState.WAITING
    assert read_code(None).is_retryable


def test_the_widget_repairs_what_its_maker_lists() -> None:
    """The nine codes that the aggregator's repair widget resolves are marked, and each needs a person."""
    assert {code for code, meaning in MEANINGS.items() if meaning.is_fixable} == FIXABLE
    assert {read_code(code).state for code in FIXABLE} == {ConnectionState.NEEDS_PERSON}


@pytest.mark.parametrize("catalogue", Catalogue)
def test_only_a_delay_is_worth_asking_again(catalogue: Catalogue) -> None:
    """What needs a person, is closed or unsupported is not retried; what works or waits on others is."""
    for code, meaning in CATALOGUES[catalogue].items():
        is_stuck = meaning.state in {ConnectionState.NEEDS_PERSON, ConnectionState.CLOSED, ConnectionState.UNSUPPORTED}
        assert meaning.is_retryable is not is_stuck or code in {20007, 20008, 20009}


@pytest.mark.parametrize("catalogue", Catalogue)
def test_codes_are_said_in_words(catalogue: Catalogue) -> None:
    """A title of a few words; one sentence; and what the person can do."""
    for code, meaning in CATALOGUES[catalogue].items():
        assert 1 <= len(meaning.title.split()) <= 5, code
        assert meaning.title[0].isupper()
        assert not meaning.title.endswith(".")
        assert meaning.words[0].isupper()
        assert meaning.words.endswith(".")
        assert meaning.words.count(". ") == 0
        assert meaning.todo[0].isupper()
        assert meaning.todo.endswith(".")


def test_titles_tell_codes_apart() -> None:
    """Two meanings of a catalogue that differ have different titles."""
    for catalogue in CATALOGUES.values():
        meanings = set(catalogue.values())
        assert len(meanings) == len({meaning.title for meaning in meanings})


def test_who_waits_is_not_told_to_act() -> None:
    """What the person can do is never the same for who must act and who must wait."""
    meanings = [*MEANINGS.values(), *YODLEE.values()]
    waits = {meaning.todo for meaning in meanings if meaning.state is ConnectionState.WAITING}
    acts = {meaning.todo for meaning in meanings if meaning.state is ConnectionState.NEEDS_PERSON}
    assert not waits & acts


@pytest.mark.parametrize("code", [0, None])
def test_received_data_reads_as_people_know_it(code: int | None) -> None:
    """Code 0, or none, after a success reads "All Data Received"; before one it does not."""
    assert "All Data Received" == describe(ConnectionState.ACTIVE, code, is_received=True).words
    assert "All Data Received" != describe(ConnectionState.ACTIVE, code, is_received=False).words


@pytest.mark.parametrize("catalogue", Catalogue)
def test_a_list_of_codes_is_by_number(catalogue: Catalogue) -> None:
    """All codes are in it once, 0 first, in the words that people know."""
    rows = list_meanings(catalogue)
    assert sorted(CATALOGUES[catalogue]) == [code for code, _ in rows]
    assert (0, "All Data Received") == (rows[0][0], rows[0][1].words)


def test_a_standing_says_its_code_unless_it_is_closed() -> None:
    """Data that came earlier does not hide a code; a connection that is closed has only that to say."""
    assert read_code(103) is describe(ConnectionState.NEEDS_PERSON, 103, is_received=True)
    closed = describe(ConnectionState.CLOSED, 103, is_received=True)
    assert (ConnectionState.CLOSED, Actor.NOBODY) == (closed.state, closed.actor)
