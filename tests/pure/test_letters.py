"""What e-mail says: banks, clients and next steps, on as many lines as it should have."""

from datetime import UTC, datetime

import pytest

from bankfeed.health import MEANINGS, ConnectionState, describe
from bankfeed.letters import (
    MAX_BODY_CHARS,
    MAX_SUBJECT_CHARS,
    NAMED,
    Need,
    one_line,
    plain_text,
    write_client_letter,
    write_firm_letter,
)

WRONG_PASSWORD = describe(ConnectionState.NEEDS_PERSON, 103, is_received=True)
AT = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)
LINE_ENDS = "\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029\x00"


def need(client: str = "Demo Client", bank: str = "FinBank") -> Need:
    return Need(client=client, bank=bank, since_at=AT, meaning=WRONG_PASSWORD)


def test_a_firm_hears_whose_bank_it_is() -> None:
    """Subject and body in full: client, bank, since when, what happened, what to do, how often."""
    letter = write_firm_letter([need()], count=1, every_hours=24)
    assert "Demo Client: FinBank needs you" == letter.subject
    assert letter.body == (
        "Hello,\n\n"
        "1 bank of your clients needs somebody:\n\n"
        "Demo Client: FinBank, since 2 March 2026\n"
        f"  What happened: {WRONG_PASSWORD.words}\n"
        f"  Next step: {WRONG_PASSWORD.todo}\n\n"
        "While a bank needs somebody, you hear of it at most every day. An owner of your firm can change that.\n\n"
        "Bankfeed"
    )


def test_a_client_hears_of_its_own_banks_and_who_asks() -> None:
    """The firm's name is what a client knows."""
    letter = write_client_letter([need(), need(bank="House Bank")], count=2, firm="Miller Books", every_hours=168)
    assert "Your bank FinBank needs you, and 1 more" == letter.subject
    assert letter.body == (
        "Hello Demo Client,\n\n"
        "Miller Books gets no new data from these banks of yours:\n\n"
        "FinBank, since 2 March 2026\n"
        f"  What happened: {WRONG_PASSWORD.words}\n"
        f"  Next step: {WRONG_PASSWORD.todo}\n\n"
        "House Bank, since 2 March 2026\n"
        f"  What happened: {WRONG_PASSWORD.words}\n"
        f"  Next step: {WRONG_PASSWORD.todo}\n\n"
        "Miller Books helps you with it. Never send a password or a code by e-mail: nobody of us asks for it.\n\n"
        "While a bank needs you, you hear of it at most every 7 days.\n\n"
        "Bankfeed"
    )


def test_what_is_not_named_is_counted() -> None:
    """A letter stays short, however many banks need somebody."""
    letter = write_firm_letter([need(client="n" * 300, bank="b" * 300)] * NAMED, count=10_000, every_hours=36)
    assert f"And {10_000 - NAMED} more banks.\n" in letter.body
    assert "at most every 36 hours" in letter.body
    assert len(letter.subject) <= MAX_SUBJECT_CHARS
    assert len(letter.body) < MAX_BODY_CHARS


@pytest.mark.parametrize("end", [*LINE_ENDS, "\r\n"])
def test_no_name_ends_a_line(end: str) -> None:
    """Whatever is in the names of firm, client and bank: one subject, and no line of the letter that begins with it."""
    name = f"Ann{end}Bcc: eve@x.example{end}{end}Dear Ann"
    letters = (
        write_firm_letter([need(name, name)], count=2, every_hours=1),
        write_client_letter([need(name, name)], count=2, firm=name, every_hours=1),
    )
    for letter in letters:
        assert letter.subject.isprintable()
        assert 1 == len(letter.subject.splitlines())
        assert not any(line.startswith(("Bcc", "Dear")) for line in letter.body.splitlines())
        assert all(line.isprintable() for line in letter.body.split("\n"))


@pytest.mark.parametrize("code", sorted(MEANINGS))
def test_every_code_has_its_words_in_a_letter(code: int) -> None:
    """What it means and the next step, whatever the code; and its number does not stand there."""
    meaning = describe(MEANINGS[code].state, code, is_received=True)
    letter = write_firm_letter(
        [Need(client="Ann", bank="FinBank", since_at=AT, meaning=meaning)], count=1, every_hours=48
    )
    assert f"  What happened: {meaning.words}\n  Next step: {meaning.todo}\n" in letter.body
    assert not code or str(code) not in letter.body.replace("2026", "")


def test_lines_are_cut_and_cleaned() -> None:
    """One line is bounded and ends in a mark where it was cut; text keeps its lines and nothing else that is unseen."""
    assert (150, "…") == (len(one_line("x" * 200)), one_line("x" * 200)[-1])
    assert "a b" == one_line("\u202ea\u2066\tb\u200b")
    assert ("one\n\ntwo", MAX_BODY_CHARS) == (plain_text("one\r\n\u200b\r\ntwo\x07"), len(plain_text("x" * 30_000)))
