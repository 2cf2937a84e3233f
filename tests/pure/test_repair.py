"""Guided repair: the order for every state, the five questions where they fit, and no way without an end."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from bankfeed.health import CATALOGUES, MEANINGS, RECEIVED, Actor, ConnectionState, Meaning, describe, read_code
from bankfeed.repair import PLANS, Answer, Bank, Step, StepName, Tried, next_step, write_script
from bankfeed.repair_words import AGAIN

BANK = Bank(name="First Bank", phone="+1 555 0100", email="help@first.example", url="https://first.example")
OAUTH = Bank(name="First Bank", is_oauth=True)
SINCE = datetime(2026, 11, 3, 14, 5, tzinfo=UTC)
EVERY = {
    **{f"{name} {code}": meaning for name, codes in CATALOGUES.items() for code, meaning in codes.items()},
    "before the first update": read_code(None),
    "escalated": read_code(123, repeats=3),
    "unlisted": read_code(99_999),
    "all received": RECEIVED,
    "unlinked": describe(ConnectionState.CLOSED, None, is_received=True),
    "refused": describe(ConnectionState.UNSUPPORTED, None, is_received=False),
}


def walk(
    meaning: Meaning, bank: Bank, tried: tuple[Tried, ...] = (), seen: tuple[StepName, ...] = ()
) -> Iterator[tuple[Step, ...]]:
    """Every way through a repair, each answer of each step tried; a way that comes to a step twice is a loop."""
    step = next_step(meaning, tried, bank)
    if step.name in seen:
        assert StepName.DONE is step.name, (step.name, tried)
        yield (step,)
        return
    if step.name.is_end:
        yield (step,)
    for choice in step.choices:
        answered = (*tried, Tried(step.name, choice.answer))
        for rest in walk(meaning, bank, answered, (*seen, step.name)):
            yield (step, *rest)


def follow(code: int | None, *answers: str, bank: Bank = BANK) -> tuple[str, ...]:
    """The steps that come one after the other when these answers are given."""
    tried: tuple[Tried, ...] = ()
    names = [next_step(read_code(code), tried, bank).name]
    for answer in answers:
        tried += (Tried(names[-1], Answer(answer)),)
        names.append(next_step(read_code(code), tried, bank).name)
    return tuple(name.value for name in names)


@pytest.mark.parametrize("bank", [BANK, OAUTH, Bank()], ids=["usual", "consent", "unknown"])
@pytest.mark.parametrize("name", EVERY)
def test_each_way_ends(name: str, bank: Bank) -> None:
    """Whatever is answered, it ends well, with waiting, at the bank or with a case, after few steps; a case is always within reach."""
    ways = list(walk(EVERY[name], bank))
    assert all(way[-1].name.is_end for way in ways)
    assert all(len(way) <= 10 for way in ways)
    assert any(way[-1].name is StepName.CASE for way in ways)


@pytest.mark.parametrize("name", EVERY)
def test_each_step_says_why(name: str) -> None:
    """The cause stands with every step, nothing is left to be filled in, and the telephone's sentence names the bank."""
    for bank in (BANK, OAUTH):
        script = write_script(EVERY[name], bank, since=SINCE)
        assert {EVERY[name].words} == {step.cause for step in script}
        for step in script:
            texts = (
                step.ask,
                step.say,
                *(each.label for each in step.choices),
                *(each.advice for each in step.choices),
            )
            assert "First Bank" in step.say
            assert all("{" not in text and "  " not in text for text in texts)
            assert step.ask[-1] in ".?"
            assert step.say[-1] in ".?"
            assert len(step.choices) == len({each.answer for each in step.choices})
            assert step.choices or step.name.is_end


def test_a_script_has_what_it_leads_to() -> None:
    """Each choice leads to a step of the same script, no step is there twice, and each is led to."""
    for meaning in EVERY.values():
        for bank in (BANK, OAUTH):
            script = write_script(meaning, bank)
            names = [step.name for step in script]
            led_to = {choice.leads_to for step in script for choice in step.choices}
            assert sorted(names) == sorted(set(names))
            assert led_to <= set(names)
            assert set(names) == led_to | {names[0]}


def test_every_plan_is_somebodys() -> None:
    """No row of the table is there for nothing, save those for what nobody says yet."""
    keys = {key for meaning in EVERY.values() for key in list_keys(meaning)}
    assert {(ConnectionState.NEEDS_PERSON, None), (ConnectionState.WAITING, None)} == PLANS.keys() - keys


def list_keys(meaning: Meaning) -> Iterator[tuple[object, object]]:
    keys = [(meaning.state, each) for each in (meaning.step, meaning.actor, None)]
    yield next(key for key in keys if key in PLANS)


@pytest.mark.parametrize(
    ("code", "checks"),
    [
        (103, {StepName.CHANGED, StepName.SAME_LOGIN, StepName.OWNER}),
        (185, {StepName.TOKEN, StepName.ANSWERS}),
        (187, {StepName.TOKEN, StepName.ANSWERS}),
        (331, {StepName.TOKEN, StepName.ANSWERS}),
        (947, {StepName.SAME_LOGIN, StepName.OWNER}),
        (108, {StepName.CHANGED, StepName.SAME_LOGIN, StepName.OWNER}),
        (905, set()),
        (977, set()),
    ],
)
def test_the_questions_fit_the_state(code: int, checks: set[StepName]) -> None:
    """Who is refused is asked for the login, who has to answer the bank for the answers, and who has to wait for nothing."""
    assert checks == {step.name for step in write_script(read_code(code), BANK) if step.name.is_check}


def test_all_five_questions_are_asked() -> None:
    """Nothing of the support script is left out."""
    asked = {step.name for meaning in EVERY.values() for step in write_script(meaning, BANK) if step.name.is_check}
    assert {name for name in StepName if name.is_check} == asked
    assert 5 == len(asked)


@pytest.mark.parametrize("code", sorted(code for code, each in MEANINGS.items() if each.actor.is_person))
def test_the_banks_own_site_comes_before_the_login(code: int) -> None:
    """Where it is not done here alone, a person signs in at the bank first; who cannot is sent to the bank, and asked no more."""
    first = next_step(read_code(code), (), BANK)
    if read_code(code).step in ("delete", "link_again"):
        assert StepName.AT_BANK is not first.name
        return
    assert StepName.AT_BANK is first.name
    stop = next_step(read_code(code), (Tried(StepName.AT_BANK, Answer.NO),), BANK)
    assert StepName.CALL_BANK is stop.name
    assert not stop.choices
    for text in (BANK.phone, BANK.email, BANK.url):
        assert text in stop.ask
        assert text in stop.say


def test_a_bank_without_an_address_is_called_all_the_same() -> None:
    """Where nothing is known of it, the person hears where its number is."""
    stop = next_step(read_code(103), (Tried(StepName.AT_BANK, Answer.NO),), Bank())
    assert "your bank" in stop.ask
    assert "on your card" in stop.ask


@pytest.mark.parametrize(
    ("code", "answers", "steps"),
    [
        (103, "yes worked", "at_bank credentials done"),
        (103, "yes failed yes", "at_bank credentials changed credentials_again"),
        (103, "yes failed no no", "at_bank credentials changed same_login credentials_again"),
        (103, "yes failed no yes yes", "at_bank credentials changed same_login owner case"),
        (103, "yes failed yes failed", "at_bank credentials changed credentials_again case"),
        (185, "yes failed no", "at_bank challenge token challenge_again"),
        (185, "yes failed yes no worked", "at_bank challenge token answers challenge_again done"),
        (185, "yes failed none none", "at_bank challenge token answers case"),
        (948, "yes failed yes yes", "at_bank consent same_login owner case"),
        (108, "yes yes failed no yes yes failed", "at_bank todo refresh changed same_login owner credentials case"),
        (108, "yes no", "at_bank todo case"),
        (169, "yes worked", "todo refresh done"),
        (949, "worked", "link_again done"),
        (905, "too_long yes failed", "wait at_bank refresh case"),
        (910, "too_long worked", "wait refresh done"),
        (977, "too_long yes", "wait at_bank case"),
        (0, "missing worked", "done refresh done"),
        (913, "missing", "done case"),
        (920, "", "case"),
    ],
)
def test_answers_lead_on(code: int, answers: str, steps: str) -> None:
    """A wrong answer leads to the remedy, right ones to the next question, and in the end to a case."""
    assert tuple(steps.split()) == follow(code, *answers.split())


def test_a_password_is_not_tried_twice_for_nothing() -> None:
    """A second try comes only after an answer that says what to do differently: banks lock a login soon."""
    for meaning in EVERY.values():
        for way in walk(meaning, BANK):
            again = [step for step in way if step.name in AGAIN]
            assert all(step.advice for step in again)


@pytest.mark.parametrize(
    ("code", "step", "answer", "words"),
    [
        (103, StepName.CHANGED, Answer.YES, "Enter the new one"),
        (103, StepName.SAME_LOGIN, Answer.NO, "letter by letter"),
        (103, StepName.OWNER, Answer.NO, "owner of the account"),
        (185, StepName.TOKEN, Answer.NO, "Have the code ready"),
        (185, StepName.ANSWERS, Answer.NO, "Set the answers anew"),
    ],
)
def test_a_wrong_answer_gives_advice(code: int, step: StepName, answer: Answer, words: str) -> None:
    """What to do differently stands with the answer, and with the step that it leads to."""
    script = {each.name: each for each in write_script(read_code(code), BANK)}
    choice = next(each for each in script[step].choices if each.answer is answer)
    assert words in choice.advice
    assert choice.leads_to in AGAIN
    tried = [Tried(name, each.choices[0].answer) for name, each in script.items() if name.is_check and name is not step]
    fixed = [Tried(StepName.AT_BANK, Answer.YES), Tried(StepName.CREDENTIALS, Answer.FAILED)]
    fixed += [Tried(StepName.CHALLENGE, Answer.FAILED), Tried(step, answer)]
    passed = [Tried(each.step, right(each.step)) for each in tried]
    assert choice.advice == next_step(read_code(code), (*passed, *fixed), BANK).advice


def right(step: StepName) -> Answer:
    """The answer that says that all is as it should be."""
    return Answer.NO if step is StepName.CHANGED else Answer.YES


def test_consent_stands_for_a_password_where_the_bank_has_a_page() -> None:
    """At such a bank nobody is asked for a password."""
    assert ("at_bank", "consent", "changed", "consent_again") == follow(103, "yes", "failed", "yes", bank=OAUTH)
    for meaning in EVERY.values():
        names = {step.name for step in write_script(meaning, OAUTH)}
        assert not names & {StepName.CREDENTIALS, StepName.CREDENTIALS_AGAIN}


def test_what_was_answered_is_not_asked_again() -> None:
    """When an attempt turns the state into another, the repair goes on from there; an answer given anew replaces the first."""
    tried = (Tried(StepName.AT_BANK, Answer.YES), Tried(StepName.CREDENTIALS, Answer.FAILED))
    assert StepName.CHALLENGE is next_step(read_code(185), tried, BANK).name
    early = (Tried(StepName.CREDENTIALS, Answer.FAILED), Tried(StepName.AT_BANK, Answer.YES))
    assert StepName.CHANGED is next_step(read_code(103), early, BANK).name
    assert StepName.DONE is next_step(RECEIVED, tried, BANK).name
    back = (Tried(StepName.AT_BANK, Answer.NO), Tried(StepName.AT_BANK, Answer.YES))
    assert StepName.CREDENTIALS is next_step(read_code(103), back, BANK).name


def test_an_answer_that_a_step_does_not_have_counts_as_none() -> None:
    """What somebody made up leads nowhere."""
    assert StepName.AT_BANK is next_step(read_code(103), (Tried(StepName.AT_BANK, Answer.TOO_LONG),), BANK).name


@pytest.mark.parametrize(
    ("meaning", "who"),
    [
        (read_code(905), "First Bank has to mend this since 3 November 2026, 14:05 UTC"),
        (read_code(910), "The service that connects us to First Bank has to act since"),
        (read_code(123, repeats=3), "We have to act since"),
    ],
)
def test_waiting_says_for_whom_since_when_and_what_happens(meaning: Meaning, who: str) -> None:
    """Who waits hears who has to act, since when it is so, and that it is tried by itself."""
    step = next_step(meaning, (), BANK, since=SINCE)
    assert StepName.WAIT is step.name
    assert step.ask.startswith(who)
    assert "tried again by itself" in step.ask
    assert "since" not in next_step(meaning, (), BANK).ask


def test_nobody_is_asked_for_a_secret() -> None:
    """The sentences for the telephone have passwords, codes and answers typed by the person, never told."""
    for code in (103, 185):
        for step in write_script(read_code(code), BANK):
            if step.name.is_remedy:
                assert "yourself" in step.say


def test_braces_in_a_name_are_nothing_but_a_name() -> None:
    """A bank that is called like a place to fill in is called just so."""
    assert "{todo}" in next_step(read_code(103), (), Bank(name="{todo}")).ask


def test_each_actor_of_a_wait_has_words() -> None:
    """Nobody who waits hears of nobody."""
    actors = {each.actor for each in EVERY.values() if each.state is ConnectionState.WAITING}
    assert {Actor.INSTITUTION, Actor.AGGREGATOR, Actor.US} == actors
