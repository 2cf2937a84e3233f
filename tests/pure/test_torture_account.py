"""The torture suite's account: what is lost, doubled or wrong is found, and what is right is not."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.torture.account import (
    Account,
    Client,
    Connection,
    Facts,
    Fault,
    Receipt,
    Row,
    Sent,
    Stored,
    Told,
    close,
)

ROW = Row(id="r1", state="active", amount=Decimal("-9.00"))
SENT = Sent(key="e1", has_id=True, tries=3, accepted=2)
STORED = Stored(key="e1", state="done", refs=frozenset({"a1"}))
CONNECTION = Connection(ref="l1", refs=frozenset({"l1", "a1"}), state="active", requested=1, claimed=1, handled=1)
ACCOUNT = Account(ref="a1", is_closed=False, shown=(ROW,), listed=(ROW,), ids=("r1", "r0"), movements={"r1": "m1"})
CLIENT = Client(name="7", numbers=(1, 2, 3), last=3)
ADDED = Told(event_id="o1", event_type="accountAdded", body=b"1", accounts=("a1",), states=("delivered",), cause="tx1")
REFRESHED = replace(ADDED, event_id="o2", event_type="transactionsRefreshed", body=b"2")
RIGHT = Facts(
    sent=(SENT,),
    stored=(STORED,),
    connections=(CONNECTION,),
    accounts=(ACCOUNT,),
    clients=(CLIENT,),
    told=(ADDED, REFRESHED),
    receipts=(
        Receipt(event_id="o1", taken=1, bodies=frozenset({b"1"})),
        Receipt(event_id="o2", taken=4, bodies=frozenset({b"2"})),
    ),
    changed=frozenset({("tx1", "a1")}),
    touched=frozenset({("tx1", "a1")}),
    linked=frozenset({"a1"}),
)


def found(facts: Facts) -> list[tuple[Fault, str]]:
    return [(difference.fault, difference.text) for difference in close(facts).differences]


def test_what_is_right_is_even() -> None:
    """An account in which all agrees has no difference, and says so in its line."""
    balance = close(RIGHT)
    assert balance.is_even
    assert (
        "1 events accepted, 1 processed, 2 deliveries of 2 events, 0 lost, 0 doubled, 1 accounts exact"
        == balance.line()
    )


def stored(**values: Any) -> Facts:
    return replace(RIGHT, stored=(replace(STORED, **values),))


def sent(**values: Any) -> Facts:
    return replace(RIGHT, sent=(replace(SENT, **values),))


def connected(**values: Any) -> Facts:
    return replace(RIGHT, connections=(replace(CONNECTION, **values),))


def held(**values: Any) -> Facts:
    return replace(RIGHT, accounts=(replace(ACCOUNT, **values),))


def told(*events: Told) -> Facts:
    return replace(RIGHT, told=events)


OTHER = replace(ROW, id="r2")
PLANTED: dict[str, tuple[Facts, list[tuple[Fault, str]]]] = {
    "an accepted event that is not stored": (
        replace(RIGHT, stored=(), connections=(replace(CONNECTION, requested=0, claimed=0, handled=0),)),
        [(Fault.LOST, "event e1 was answered 200 2 times and is stored 0 times")],
    ),
    "an event that is stored twice": (
        replace(RIGHT, stored=(STORED, STORED), connections=(replace(CONNECTION, requested=2, claimed=2, handled=2),)),
        [(Fault.DOUBLED, "event e1 was sent 3 times and is stored 2 times")],
    ),
    "an event without an id that is stored less often than it was answered 200": (
        sent(has_id=False),
        [(Fault.LOST, "event e1 was answered 200 2 times and is stored 1 times")],
    ),
    "an event that still waits": (
        replace(stored(state="waiting"), connections=(replace(CONNECTION, requested=0, claimed=0, handled=0),)),
        [(Fault.LOST, "event e1 still waits: ")],
    ),
    "an event that was set aside": (
        stored(state="set_aside", reason="unknown at the aggregator: a1"),
        [(Fault.LOST, "event e1 was set aside: unknown at the aggregator: a1")],
    ),
    "an event that nobody sent": (
        replace(RIGHT, stored=(STORED, Stored(key="e2", state="done"))),
        [(Fault.WRONG, "event e2 is stored and nobody sent it")],
    ),
    "a forged event that is answered 200": (
        replace(RIGHT, sent=(SENT, Sent(key="e2", has_id=True, tries=1, accepted=1, is_forged=True))),
        [(Fault.WRONG, "event e2 is forged and was answered 200")],
    ),
    "a refresh that was not asked for": (
        connected(requested=0, claimed=0, handled=0),
        [(Fault.LOST, "connection l1 was named by 1 events and asked for 0 times")],
    ),
    "a refresh that was asked for twice": (
        connected(requested=2, claimed=2, handled=2),
        [(Fault.DOUBLED, "connection l1 was named by 1 events and asked for 2 times")],
    ),
    "a refresh that is not handled": (
        connected(handled=0),
        [(Fault.LOST, "connection l1 has requested 1, claimed 1, handled 0")],
    ),
    "a connection that is leased": (connected(has_lease=True), [(Fault.WRONG, "connection l1 is still leased")]),
    "a row that is not shown": (held(shown=()), [(Fault.LOST, "account a1 lacks r1 (active, -9.00)")]),
    "a row that the bank does not list": (
        held(shown=(ROW, OTHER)),
        [(Fault.DOUBLED, "account a1 shows r2 (active, -9.00), which the bank does not list")],
    ),
    "a row in another state": (
        held(shown=(replace(ROW, state="pending"),)),
        [
            (Fault.LOST, "account a1 lacks r1 (active, -9.00)"),
            (Fault.DOUBLED, "account a1 shows r1 (pending, -9.00), which the bank does not list"),
        ],
    ),
    "a row of another amount": (
        held(shown=(replace(ROW, amount=Decimal("-9.01")),)),
        [
            (Fault.LOST, "account a1 lacks r1 (active, -9.00)"),
            (Fault.DOUBLED, "account a1 shows r1 (active, -9.01), which the bank does not list"),
        ],
    ),
    "a movement that is shown twice": (
        held(shown=(ROW, ROW)),
        [
            (Fault.DOUBLED, "account a1 shows r1 (active, -9.00), which the bank does not list"),
            (Fault.DOUBLED, "account a1 shows m1 2 times, the bank 1 times"),
        ],
    ),
    "an id on two rows": (held(ids=("r1", "r1")), [(Fault.DOUBLED, "account a1 has the id r1 on 2 rows")]),
    "an account that the bank deleted": (
        held(listed=None),
        [(Fault.LOST, "account a1 is gone at the bank and open here")],
    ),
    "an account that is closed and should not be": (
        held(is_closed=True),
        [(Fault.WRONG, "account a1 is there at the bank and closed here")],
    ),
    "an account that never came": (
        replace(RIGHT, linked=frozenset({"a1", "a2"})),
        [(Fault.LOST, "account a2 was linked and is not here")],
    ),
    "a gap in the change numbers": (
        replace(RIGHT, clients=(replace(CLIENT, numbers=(1, 3)),)),
        [(Fault.LOST, "client 7 never gave the change number 2 of 3")],
    ),
    "a change number given twice": (
        replace(RIGHT, clients=(replace(CLIENT, numbers=(1, 2, 2, 3)),)),
        [(Fault.DOUBLED, "client 7 gave the change number 2 2 times")],
    ),
    "a change number beyond the counter": (
        replace(RIGHT, clients=(replace(CLIENT, last=2),)),
        [(Fault.WRONG, "client 7 gave the change number 3, its counter stands at 2")],
    ),
    "an account that was announced twice": (
        replace(
            told(ADDED, replace(ADDED, event_id="o3"), REFRESHED),
            receipts=(*RIGHT.receipts, Receipt(event_id="o3", taken=1, bodies=frozenset({b"1"}))),
        ),
        [(Fault.DOUBLED, "account a1 was announced 2 times")],
    ),
    "a change that no event tells": (
        replace(told(ADDED), receipts=RIGHT.receipts[:1]),
        [(Fault.LOST, "rows of account a1 changed in commit tx1 and no event says so")],
    ),
    "an event of another commit than its change": (
        told(ADDED, replace(REFRESHED, cause="tx2")),
        [
            (Fault.LOST, "rows of account a1 changed in commit tx1 and no event says so"),
            (Fault.DOUBLED, "1 events say that rows of account a1 changed in commit tx2"),
        ],
    ),
    "an event that was never delivered": (
        replace(RIGHT, receipts=RIGHT.receipts[:1]),
        [(Fault.LOST, "event o2 was told to nobody (deliveries: delivered)")],
    ),
    "an event that was delivered with two bodies": (
        replace(
            RIGHT,
            receipts=(RIGHT.receipts[0], replace(RIGHT.receipts[1], bodies=frozenset({b"2", b"3"}))),
        ),
        [(Fault.WRONG, "event o2 came with 2 bodies, not all the one it has")],
    ),
    "a delivery that failed": (
        told(ADDED, replace(REFRESHED, states=("failed",))),
        [(Fault.LOST, "a delivery of event o2 ended as failed")],
    ),
    "an event without a delivery": (
        told(ADDED, replace(REFRESHED, states=())),
        [(Fault.LOST, "event o2 has no delivery")],
    ),
    "a delivery of what was never committed": (
        replace(RIGHT, receipts=(*RIGHT.receipts, Receipt(event_id="o9", taken=1, bodies=frozenset({b"9"})))),
        [(Fault.WRONG, "event o9 was delivered and never committed")],
    ),
    "a lease that is left": (replace(RIGHT, leases=1), [(Fault.WRONG, "1 leases are left")]),
    "work that is left": (replace(RIGHT, waiting=2), [(Fault.LOST, "2 pieces of work still wait")]),
    "a complaint": (
        replace(RIGHT, complaints=("worker 1 ended by itself",)),
        [(Fault.WRONG, "worker 1 ended by itself")],
    ),
}


@pytest.mark.parametrize("case", PLANTED)
def test_what_is_planted_is_found(case: str) -> None:
    """Each loss, each double and each thing that is wrong is reported, and nothing else is."""
    facts, expected = PLANTED[case]
    assert expected == found(facts)


FINE: dict[str, Callable[[], Facts]] = {
    "an event that was never answered 200, and is stored all the same": lambda: sent(accepted=0),
    "an event without an id that came twice": lambda: replace(
        sent(has_id=False),
        stored=(STORED, STORED),
        connections=(replace(CONNECTION, requested=2, claimed=2, handled=2),),
    ),
    "an event about an account that the bank deleted, set aside": lambda: replace(
        stored(state="set_aside", reason="unknown at the aggregator: a1"),
        accounts=(replace(ACCOUNT, listed=None, is_closed=True),),
        gone=frozenset({"a1"}),
    ),
    "an event that names nothing but a deleted account, asked for": lambda: replace(
        connected(refs=frozenset({"l1", "a1", "a2"}), requested=2, claimed=2, handled=2),
        sent=(SENT, Sent(key="e2", has_id=True, tries=1, accepted=1)),
        stored=(STORED, Stored(key="e2", state="done", refs=frozenset({"a2"}))),
        gone=frozenset({"a2"}),
    ),
    "an event that names nothing but a deleted account, not asked for": lambda: replace(
        connected(refs=frozenset({"l1", "a1", "a2"})),
        sent=(SENT, Sent(key="e2", has_id=True, tries=1, accepted=1)),
        stored=(STORED, Stored(key="e2", state="done", refs=frozenset({"a2"}))),
        gone=frozenset({"a2"}),
    ),
    "an event that asks for nothing": lambda: replace(
        RIGHT,
        sent=(SENT, Sent(key="e2", has_id=True, tries=1, accepted=1)),
        stored=(STORED, Stored(key="e2", state="done", refs=frozenset({"a1"}), is_idle=True)),
    ),
    "a forged event that is refused": lambda: replace(
        RIGHT, sent=(SENT, Sent(key="e2", has_id=True, tries=2, accepted=0, is_forged=True))
    ),
    "a commit that only changed an id, told or not": lambda: replace(
        RIGHT,
        told=(*RIGHT.told, replace(REFRESHED, event_id="o3", body=b"3", cause="tx3")),
        receipts=(*RIGHT.receipts, Receipt(event_id="o3", taken=1, bodies=frozenset({b"3"}))),
        touched=RIGHT.touched | {("tx2", "a1"), ("tx3", "a1")},
    ),
    "a deleted account that never came": lambda: replace(RIGHT, linked=frozenset({"a1", "a2"}), gone=frozenset({"a2"})),
}


@pytest.mark.parametrize("case", FINE)
def test_what_may_be_is_no_difference(case: str) -> None:
    """What the promises allow is not called a loss or a double."""
    assert [] == found(FINE[case]())


def test_the_line_counts_what_differs() -> None:
    """A red line says how much of each there is."""
    balance = close(replace(RIGHT, sent=(), stored=(STORED,), leases=1))
    assert (
        "0 events accepted, 0 processed, 2 deliveries of 2 events, 0 lost, 0 doubled, 2 wrong, 1 accounts exact"
        == balance.line()
    )
