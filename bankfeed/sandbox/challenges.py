"""What the bank asks a person before it lets them in, and what becomes of the answers. Pure.

FinBank's published table decides: which user is asked what, and the two answers that matter ("mfa" and "fail").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bankfeed.sandbox.credentials import Manner
from bankfeed.sandbox.pictures import SHAPES, WORDS, shape_picture, word_picture
from bankfeed.sandbox.refusals import aggregation_failed

UNANSWERED, WRONG = 185, 187
ASK_AGAIN, FAIL = "mfa", "fail"
CODE_LIFE_S = 180


class ChallengeKind(StrEnum):
    """What sort of answer is asked for, in the aggregator's words."""

    TEXT = "TFA_TEXT"
    CHOICE = "TFA_CHOICE"
    MULTI = "TFA_MULTI"
    IMAGE = "TFA_IMAGE"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChoice:
    """A picture to choose, and the answer that choosing it gives."""

    image: bytes
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question; at most one of `choices`, `image` and `image_choices` comes with it."""

    text: str
    choices: tuple[str, ...] = ()
    image: bytes = b""
    image_choices: tuple[ImageChoice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What is asked at one time. `step` counts challenges from 0; `expires_at_s` ends a token's code (epoch seconds)."""

    kind: ChallengeKind
    questions: tuple[Question, ...]
    step: int = 0
    expires_at_s: int | None = None


TEXTS = (
    "What is the name of your first pet?",
    "In which city did you go to school?",
    "What was your first car?",
)
SECURITY_TEXTS = ("What is the first name of your oldest cousin?", "On which street did you grow up?")
TOKEN_TEXT = "Enter the token ID that your device shows now."  # noqa: S105  a question
CHOICES = ("A red kite", "A blue boat", "A green hill", FAIL)
THREE_SHAPES = ("circle", "square", "triangle")


def first_challenge(manner: Manner, *, turn: int, now_s: int) -> Challenge:
    """Return what the bank asks first in a manner that asks; `turn` chooses among the words of a picture."""
    match manner:
        case Manner.IMAGE:
            word = WORDS[turn % len(WORDS)]
            question = Question(text="Type the word in the picture.", image=word_picture(word))
            return Challenge(kind=ChallengeKind.IMAGE, questions=(question,))
        case Manner.CHOICE:
            question = Question(text="Which picture did you choose when you enrolled?", choices=CHOICES)
            return Challenge(kind=ChallengeKind.CHOICE, questions=(question,))
        case Manner.MULTI | Manner.IMAGE_CHOICE:
            shapes = tuple(ImageChoice(image=shape_picture(name), value=name) for name in THREE_SHAPES)
            return Challenge(kind=ChallengeKind.MULTI, questions=(_pictures(shapes),))
        case Manner.IMAGE_CHOICE_2:
            pictures = enumerate(SHAPES, start=1)
            numbered = tuple(ImageChoice(image=shape_picture(name), value=str(number)) for number, name in pictures)
            return Challenge(kind=ChallengeKind.MULTI, questions=(_pictures(numbered),))
        case Manner.TOKEN:
            question = Question(text=TOKEN_TEXT)
            return Challenge(kind=ChallengeKind.TEXT, questions=(question,), expires_at_s=now_s + CODE_LIFE_S)
        case _:
            return _text(0)


def next_challenge(manner: Manner, challenge: Challenge, answers: Mapping[str, str], *, now_s: int) -> Challenge | None:
    """Judge answers, by the text of their question, and return what is asked next; None lets the person in.

    Refuses a question without an answer and a token's code that came too late with 185, a wrong answer with 187.
    """
    given = [answers.get(question.text, "").strip() for question in challenge.questions]
    is_late = challenge.expires_at_s is not None and now_s >= challenge.expires_at_s
    if is_late or not all(given):
        raise aggregation_failed(UNANSWERED)
    if manner in {Manner.CHOICE, Manner.TOKEN} and FAIL in given:
        raise aggregation_failed(WRONG)
    if manner is Manner.TEXT and ASK_AGAIN in given:
        return _text(challenge.step + 1)
    if manner is Manner.TOKEN and challenge.step == 0:
        questions = tuple(Question(text=text) for text in SECURITY_TEXTS)
        return Challenge(kind=ChallengeKind.TEXT, questions=questions, step=1)
    return None


def _text(step: int) -> Challenge:
    return Challenge(kind=ChallengeKind.TEXT, questions=(Question(text=TEXTS[step % len(TEXTS)]),), step=step)


def _pictures(choices: tuple[ImageChoice, ...]) -> Question:
    return Question(text="Choose the picture that you know.", image_choices=choices)
