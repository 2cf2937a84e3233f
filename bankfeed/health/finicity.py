"""The aggregation status codes of Finicity (Mastercard Open Finance), which other aggregators resell. Pure.

They are grouped as its documents group them. Its repair widget is the remedy for nine of them, by its own list.
"""

from typing import Final

from bankfeed.health.meaning import (
    ACTIVE,
    CLOSED,
    LATER,
    REPAIR,
    SUPPORT,
    UNSUPPORTED,
    Actor,
    ConnectionState,
    Meaning,
    Step,
    at_bank,
    challenge,
    fixable,
    person,
    unexplained,
    wait,
)

RUNNING: Final = frozenset({325, 5006})
"""An update is running already at the aggregator: not an error of the account."""


def _consent(title: str, words: str, todo: str = REPAIR) -> Meaning:
    return fixable(person(Actor.PERSON_CREDENTIALS, Step.CONSENT, title, words, todo))


_GROUPS: Final[tuple[tuple[Meaning, tuple[int, ...]], ...]] = (
    (ACTIVE, (0,)),
    (
        wait(Actor.INSTITUTION, "Connection interrupted", "The connection to the bank was interrupted."),
        (101, 102, 104, 105),
    ),
    (
        fixable(
            person(
                Actor.PERSON_CREDENTIALS,
                Step.CREDENTIALS,
                "Invalid credentials",
                "The bank refused the user name or password; enter them again.",
                "Check that they work at the bank's own site, then enter them in the bank account's repair.",
            )
        ),
        (103,),
    ),
    (
        at_bank("More information needed", "The bank needs more information; sign in at the bank's own site."),
        (106, 107, 959, 961, 38053),
    ),
    (
        fixable(
            at_bank(
                "Message at the bank",
                "A message waits at the bank; sign in at the bank's own site and clear it.",
                "Sign in at the bank's own site and clear the message, then open the bank account's repair.",
            )
        ),
        (108,),
    ),
    (
        fixable(
            person(
                Actor.PERSON_AT_BANK,
                Step.CREDENTIALS,
                "Password expired",
                "The bank wants a new password; set it at the bank, then enter it here.",
                "Set a new password at the bank's own site, then enter it in the bank account's repair.",
            )
        ),
        (109,),
    ),
    (
        unexplained(wait(Actor.INSTITUTION, "Bank service failed", "The bank's service failed.", LATER)),
        (123, 125, 127, 128, 130),
    ),
    (
        person(
            Actor.PERSON_CREDENTIALS,
            Step.DELETE,
            "Duplicate account",
            "This account is connected twice; delete one of the two.",
            "Delete one of the two accounts, then refresh the other one's bank account.",
        ),
        (169,),
    ),
    (
        wait(Actor.US, "Data not found", "The bank's data could not be found; support looks into it.", SUPPORT),
        (170,),
    ),
    (
        wait(Actor.INSTITUTION, "Problem at the bank's site", "The bank's site has a problem."),
        (171, 179, 194, 197, 204, 307, 417, 500, 525, 11000),
    ),
    (
        fixable(
            challenge("Security question or code", "The bank asks a security question or code; answer it.", REPAIR)
        ),
        (185,),
    ),
    (
        fixable(
            challenge("Wrong answer", "The answer to the bank's security question was wrong; answer it again.", REPAIR)
        ),
        (187,),
    ),
    (wait(Actor.INSTITUTION, "Bank not reached", "The bank could not be reached."), (320, 580)),
    (
        at_bank(
            "Account details differ",
            "The account details differ from those at the bank; check them.",
            "Compare the account's details with those at the bank; tell support where they agree.",
        ),
        (324, 403),
    ),
    (
        wait(
            Actor.AGGREGATOR,
            "Update running",
            "An update is already running.",
            "Nothing: wait some minutes until it has ended.",
        ),
        tuple(sorted(RUNNING)),
    ),
    (
        challenge(
            "Time to answer over",
            "The time to answer the bank's question ran out; start again.",
            "Refresh the bank account again and answer the bank's question at once.",
        ),
        (331,),
    ),
    (
        wait(Actor.AGGREGATOR, "Connection under repair", "The connection to this bank is being worked on."),
        (900, 908, 910, 911, 915, 916),
    ),
    (
        wait(
            Actor.AGGREGATOR,
            "New connection",
            "The connection to this bank is new and still being built.",
            "Refresh the bank account again in two or three days; each try helps to build it.",
        ),
        (901, 902, 903, 904),
    ),
    (
        wait(Actor.INSTITUTION, "Bank under maintenance", "The bank's site is down or under maintenance."),
        (905, 906, 907),
    ),
    (
        at_bank(
            "Account not found",
            "The account was not found at the bank; check its details.",
            "Check at the bank's own site that the account is there, then refresh the bank account here.",
        ),
        (909, 952, 955),
    ),
    (CLOSED, (913,)),
    (
        at_bank(
            "Account no longer seen",
            "The account is no longer seen with this sign-in; check it at the bank.",
            "If the bank's own site shows the account, tell support; if it does not, delete the account here.",
        ),
        (914,),
    ),
    (UNSUPPORTED, (920, 921, 922, 923, 924, 925, 926, 927, 928, 929)),
    (
        challenge(
            "Code for every update",
            "The bank wants a new code for every update; update it while you are there.",
            "Refresh the bank account by hand and give the code that the bank sends you.",
        ),
        (931,),
    ),
    (
        at_bank(
            "Site not in English",
            "The bank's site is not set to English; change its language there.",
            "Set the language of the bank's own site to English, then refresh the bank account here.",
        ),
        (936,),
    ),
    (
        challenge(
            "Answer not enough",
            "The answer to a security question was not enough; answer it again.",
            "Refresh the bank account again and answer the security question in full.",
        ),
        (938, 940, 971),
    ),
    (_consent("Consent needed", "The bank has a new sign-in; give your consent again."), (945,)),
    (
        _consent(
            "Access withdrawn",
            "Access to this account was withdrawn; sign in again and choose it.",
            "Open the bank account's repair and choose the account again, or delete the account here.",
        ),
        (946,),
    ),
    (_consent("Consent ended", "The consent at the bank has ended; sign in again."), (947,)),
    (_consent("New sign-in at the bank", "The bank has a new sign-in; sign in again."), (948,)),
    (
        person(
            Actor.PERSON_CREDENTIALS,
            Step.LINK_AGAIN,
            "Account out of reach",
            "The account can no longer be reached; add it anew.",
            "Link the bank again and choose the account; what was booked stays.",
        ),
        (949,),
    ),
    (UNSUPPORTED, (950, 960, 972, 973, 975, 976, 2032)),
    (
        wait(
            Actor.US,
            "Limit of requests reached",
            "The bank's limit of requests is reached; we ask again later.",
        ),
        (977, 44000, 44002),
    ),
    (
        person(
            Actor.PERSON_CREDENTIALS,
            Step.CREDENTIALS,
            "Sign-in not accepted",
            "The bank did not accept the sign-in; sign in again.",
            REPAIR,
        ),
        (1008,),
    ),
    (
        person(
            Actor.PERSON_CREDENTIALS,
            Step.LINK_AGAIN,
            "Sign-in not finished",
            "The sign-in was not finished; start again.",
            "Start the linking of the bank again and finish it.",
        ),
        (10814, 12003, 50025),
    ),
    (
        Meaning(
            state=ConnectionState.WAITING,
            actor=Actor.US,
            step=Step.WAIT,
            title="Move to new sign-in failed",
            words="Moving to the bank's new sign-in failed; we look into it.",
            todo=SUPPORT,
        ),
        (20007, 20008, 20009),
    ),
)

MEANINGS: Final = {code: meaning for meaning, codes in _GROUPS for code in codes}
