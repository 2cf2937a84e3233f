"""The status codes of Yodlee, by which firms that come from CustomBooks know their connections. Pure.

They are grouped as its status code page groups them; where a group says what a code of Finicity says, it means the same.
"""

from typing import Final

from bankfeed.health.finicity import MEANINGS as FINICITY
from bankfeed.health.meaning import (
    ACTIVE,
    BEFORE_FIRST,
    CLOSED,
    NOTHING,
    REPAIR,
    SUPPORT,
    UNKNOWN,
    UNSUPPORTED,
    Actor,
    ConnectionState,
    Meaning,
    Step,
    at_bank,
    challenge,
    fixable,
    person,
    wait,
)

_GROUPS: Final[tuple[tuple[Meaning, tuple[int, ...]], ...]] = (
    (ACTIVE, (0,)),
    (BEFORE_FIRST, (801, 802)),
    (
        Meaning(
            state=ConnectionState.ACTIVE,
            actor=Actor.NOBODY,
            step=Step.NONE,
            title="Partial data",
            words="Some of the bank's data has come; the rest comes with a later update.",
            todo=NOTHING,
            is_retryable=True,
        ),
        (811,),
    ),
    (FINICITY[103], (402, 551)),
    (
        fixable(
            person(
                Actor.PERSON_CREDENTIALS,
                Step.CREDENTIALS,
                "Credentials out of date",
                "The bank wants other sign-in details than before; enter them anew.",
                "Check at the bank's own site how to sign in now, then enter that in the bank account's repair.",
            )
        ),
        (410, 420, 526),
    ),
    (FINICITY[948], (506,)),
    (
        at_bank(
            "Account locked",
            "The bank has locked the access to this account; unlock it there.",
            "Unlock it at the bank's own site, then enter the user name and password in the bank account's repair.",
        ),
        (407,),
    ),
    (FINICITY[109], (406,)),
    (FINICITY[108], (427, 428)),
    (FINICITY[106], (429,)),
    (
        at_bank(
            "Security codes not set up",
            "The bank wants you to set up security questions or codes; do so at the bank's own site.",
        ),
        (521,),
    ),
    (FINICITY[185], (518, 519, 520, 522, 573)),
    (
        fixable(
            challenge(
                "Wrong or late answer",
                "The answer to the bank's question was wrong or came too late; answer it again.",
                REPAIR,
            )
        ),
        (509, 523, 524),
    ),
    (FINICITY[909], (414,)),
    (CLOSED, (422,)),
    (
        wait(Actor.INSTITUTION, "Data not available", "The bank does not give this account's data now."),
        (423, 570),
    ),
    (wait(Actor.INSTITUTION, "Bank too slow", "The bank did not answer in time."), (508, 525, 553, 554, 555)),
    (FINICITY[905], (409, 424)),
    (FINICITY[171], (401, 412, 418, 425, 431, 432, 556, 558, 571)),
    (
        wait(
            Actor.INSTITUTION,
            "Signed in elsewhere",
            "The bank ended the update because somebody was signed in at the same time.",
            "Sign out at the bank's own site and everywhere else; it is tried again by itself.",
        ),
        (415, 416),
    ),
    (wait(Actor.AGGREGATOR, "Blocked by the bank", "The bank's site does not let updates in now."), (426,)),
    (UNSUPPORTED, (411, 417, 421, 430, 505)),
    (FINICITY[901], (507,)),
    (
        wait(
            Actor.US,
            "Technical Issue",
            "We're sorry, your request could not be completed because of a technical problem.",
            SUPPORT,
        ),
        (400, 403, 404, 408, 413, 419, 517, 552, 557, 559, 560, 561, 572, 576, 577, 578, 579, 601, 708, 709),
    ),
    (FINICITY[10814], (405,)),
    (UNKNOWN, (433, 434, 435, 436, 504, 510, 511, 512, 574, 575)),
)

YODLEE: Final = {code: meaning for meaning, codes in _GROUPS for code in codes}
