"""Guided repair: which step comes next for a login that does not work, what is asked, and what each answer leads to. Pure.

The order is that of the support scripts of LedgerSync (refresh, sign in again, five questions, a specialist calls) and of
CustomBooks (the bank's own site first, whose service helps where that fails). PLANS is the whole of it; the sentences are in
repair_words.py. Every answer leads forward, so each way ends: with the bank, with waiting, with a support case, or well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from bankfeed.health import Actor, ConnectionState, Meaning
from bankfeed.health import Step as Remedy
from bankfeed.repair_words import AGAIN, Answer, Course, StepName, find_words

__all__ = ["PLANS", "Answer", "Bank", "Choice", "Step", "StepName", "Tried", "next_step", "write_script"]

MAX_TRIED: Final = 50
"""How many answers a repair may have: each question is there once, and may be answered anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """What a repair says of the institution; "" is unknown. `is_oauth`: one signs in at its own page, and nowhere else."""

    name: str = ""
    phone: str = ""
    email: str = ""
    url: str = ""
    is_oauth: bool = False


@dataclass(frozen=True, slots=True)
class Tried:
    """A step that was answered."""

    step: StepName
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An answer: how it reads, the step that it leads to, and what to tell who gives it, "" where there is nothing."""

    answer: Answer
    label: str
    leads_to: StepName
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step, in words.

    `cause` is why the connection does not work, always. `ask` is what the person in the widget reads; `say` is the sentence
    that the firm's staff says to the client on the telephone. `advice` is what the answer before said to do, "" where it
    said nothing. Where `name.is_end`, the repair ends here; a choice leads on all the same where there is one.
    """

    name: StepName
    cause: str
    ask: str
    say: str
    choices: tuple[Choice, ...] = ()
    advice: str = ""


_S: Final = StepName

PLANS: Final[Mapping[tuple[ConnectionState, Actor | Remedy | None], tuple[StepName, ...]]] = {
    (ConnectionState.ACTIVE, None): (_S.DONE, _S.REFRESH, _S.AT_BANK, _S.OWNER, _S.CASE),
    (ConnectionState.NEEDS_PERSON, Remedy.CREDENTIALS): (
        *(_S.AT_BANK, _S.CREDENTIALS, _S.CHANGED, _S.SAME_LOGIN, _S.OWNER, _S.CREDENTIALS_AGAIN, _S.CASE),
    ),
    (ConnectionState.NEEDS_PERSON, Remedy.CHALLENGE): (
        *(_S.AT_BANK, _S.CHALLENGE, _S.TOKEN, _S.ANSWERS, _S.CHALLENGE_AGAIN, _S.CASE),
    ),
    (ConnectionState.NEEDS_PERSON, Remedy.CONSENT): (
        *(_S.AT_BANK, _S.CONSENT, _S.SAME_LOGIN, _S.OWNER, _S.CONSENT_AGAIN, _S.CASE),
    ),
    (ConnectionState.NEEDS_PERSON, Remedy.AT_BANK): (
        *(_S.AT_BANK, _S.TODO, _S.REFRESH, _S.CHANGED, _S.SAME_LOGIN, _S.OWNER, _S.CREDENTIALS, _S.CASE),
    ),
    (ConnectionState.NEEDS_PERSON, Remedy.DELETE): (_S.TODO, _S.REFRESH, _S.CASE),
    (ConnectionState.NEEDS_PERSON, Remedy.LINK_AGAIN): (_S.LINK_AGAIN, _S.AT_BANK, _S.OWNER, _S.CASE),
    (ConnectionState.NEEDS_PERSON, None): (_S.AT_BANK, _S.REFRESH, _S.CHANGED, _S.OWNER, _S.CREDENTIALS, _S.CASE),
    (ConnectionState.WAITING, Actor.INSTITUTION): (_S.WAIT, _S.AT_BANK, _S.REFRESH, _S.CASE),
    (ConnectionState.WAITING, Actor.AGGREGATOR): (_S.WAIT, _S.REFRESH, _S.CASE),
    (ConnectionState.WAITING, Actor.US): (_S.WAIT, _S.AT_BANK, _S.CASE),
    (ConnectionState.WAITING, None): (_S.WAIT, _S.AT_BANK, _S.REFRESH, _S.CASE),
    (ConnectionState.CLOSED, Remedy.LINK_AGAIN): (_S.LINK_AGAIN, _S.CASE),
    (ConnectionState.CLOSED, None): (_S.DONE, _S.CASE),
    (ConnectionState.UNSUPPORTED, None): (_S.CASE,),
}
"""The steps in order, by the state and by the remedy or, where that is to wait, by who acts; None is any other.

A step that is called again is taken only where an answer in between found something to do differently: banks lock a login
after a few wrong passwords. At a bank with a page of its own, consent stands where credentials do.
"""

_ELSEWHERE: Final = {_S.CREDENTIALS: _S.CONSENT, _S.CREDENTIALS_AGAIN: _S.CONSENT_AGAIN}
_ENDS: Final = {Course.DONE: _S.DONE, Course.CALL_BANK: _S.CALL_BANK, Course.CASE: _S.CASE}


def next_step(meaning: Meaning, tried: Sequence[Tried], bank: Bank, *, since: datetime | None = None) -> Step:
    """Return the step that follows what was answered; the first one where nothing was.

    `meaning` is how the connection stands now: where an attempt has changed that, the plan is another, and what it asks too
    is not asked again. Of answers to one step the last counts; one that a step does not have counts as none. `since` is since
    when it stands like that, None where that is unknown.
    """
    steps = {step.name: step for step in write_script(meaning, bank, since=since)}
    answers = {each.step: each.answer for each in tried}
    step, passed = next(iter(steps.values())), set[StepName]()
    while step.name not in passed and (choice := _find_choice(step, answers.get(step.name))) is not None:
        passed.add(step.name)
        step = replace(steps[choice.leads_to], advice=choice.advice)
    return step


def write_script(meaning: Meaning, bank: Bank, *, since: datetime | None = None) -> tuple[Step, ...]:
    """Return every step that the state may need, in order; the first one is where it begins. `since` as for next_step."""
    plan = _find_plan(meaning, bank)
    facts = _write_facts(meaning, bank, since)
    steps = [_write_step(meaning, plan, n, facts) for n in range(len(plan))]
    ends = {choice.leads_to for step in steps for choice in step.choices} - set(plan)
    return (*steps, *(_write_step(meaning, (name,), 0, facts) for name in sorted(ends)))


# ------------------------------------------------------------------------------------------------ steps


def _find_plan(meaning: Meaning, bank: Bank) -> tuple[StepName, ...]:
    keys = ((meaning.state, meaning.step), (meaning.state, meaning.actor), (meaning.state, None))
    plan = next(PLANS[key] for key in keys if key in PLANS)
    return tuple(_ELSEWHERE.get(name, name) for name in plan) if bank.is_oauth else plan


def _write_step(meaning: Meaning, plan: Sequence[StepName], n: int, facts: Mapping[str, str]) -> Step:
    words = find_words(plan[n], meaning.state, meaning.actor)
    choices = () if n + 1 == len(plan) else words.choices
    return Step(
        name=plan[n],
        cause=meaning.words,
        ask=words.ask.format_map(facts),
        say=words.say.format_map(facts),
        choices=tuple(
            Choice(
                answer=each.answer,
                label=each.label.format_map(facts),
                leads_to=_follow(plan, n, each.course),
                advice=each.advice.format_map(facts),
            )
            for each in choices
        ),
    )


def _follow(plan: Sequence[StepName], n: int, course: Course) -> StepName:
    """Return where a course leads from the step at `n`, which is not the last."""
    if course in _ENDS:
        return _ENDS[course]
    later = plan[n + 1 :]
    usual = next(name for name in later if name not in AGAIN)
    return next((name for name in later if name.is_remedy), usual) if course is Course.REMEDY else usual


def _find_choice(step: Step, answer: Answer | None) -> Choice | None:
    return next((each for each in step.choices if each.answer is answer), None)


def _write_facts(meaning: Meaning, bank: Bank, since: datetime | None) -> dict[str, str]:
    """Return what the sentences may name."""
    kept = "What you have is kept, and it is tried again by itself."
    return {
        "bank": bank.name or "your bank",
        "words": meaning.words,
        "todo": meaning.todo,
        "since": "" if since is None else f" since {_write_time(since.astimezone(UTC))}",
        "by_itself": kept if meaning.is_retryable else "What you have is kept, and support looks into it.",
        "contact": _write_contact(bank),
    }


def _write_time(at: datetime) -> str:
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def _write_contact(bank: Bank) -> str:
    """Return how the bank is reached, in the order in which it helps soonest."""
    ways = (("telephone", bank.phone), ("e-mail", bank.email), ("site", bank.url))
    known = ", ".join(f"{name} {value}" for name, value in ways if value)
    return known or "its number is on your card and on your statements"
