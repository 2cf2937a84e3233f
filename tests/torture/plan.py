"""What a run does, drawn from its seed: which fault comes when, where and for how long. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count
from random import Random

from bankfeed.failpoints import Failpoint

INGRESS_FAILPOINTS = (Failpoint.BEFORE_INBOX_INSERT, Failpoint.AFTER_INBOX_INSERT)
DELIVERY_FAILPOINTS = (  # claims of deliveries last the longest, so in a short run these come first
    Failpoint.BEFORE_DELIVERY_CLAIM,
    Failpoint.AFTER_DELIVERY_CLAIM,
    Failpoint.BEFORE_ATTEMPT,
    Failpoint.AFTER_ATTEMPT,
)
CALM_EVERY = 12  # faults; then the product has a moment to work
CALM_S = 3.0


class Kind(StrEnum):
    """What goes wrong, by the word that the last line counts it under."""

    KILL = "kill"
    FAILPOINT = "failpoint"
    POSTGRES = "postgres"
    REDIS = "redis"
    NETWORK = "network"
    AGGREGATOR = "aggregator"
    SUBSCRIBER = "subscriber"
    CLOCK = "clock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run. Its logins are linked while it runs; each brings three accounts."""

    seed: int
    seconds: float
    workers: int = 2
    ingresses: int = 2
    clients: int = 8
    logins_per_client: int = 4
    every_failpoint: bool = False

    @property
    def logins(self) -> int:
        """How many logins there are in the end."""
        return self.clients * self.logins_per_client


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """One fault: `what` in detail, `where` it hits ("" where that says it all), after `wait_s`, for `for_s`."""

    kind: Kind
    what: str
    where: str = ""
    wait_s: float = 0.0
    for_s: float = 0.0
    number: int = 1

    def __str__(self) -> str:
        parts = [self.kind, self.what, self.where, f"{self.for_s:.1f} s" if self.for_s else ""]
        return " ".join(part for part in parts if part)


WEIGHTS: dict[tuple[Kind, str], int] = {
    (Kind.KILL, "ingress"): 5,
    (Kind.KILL, "worker"): 8,
    (Kind.KILL, "both"): 3,
    (Kind.FAILPOINT, ""): 12,
    (Kind.POSTGRES, "stop"): 3,
    (Kind.POSTGRES, "terminate"): 5,
    (Kind.REDIS, "restart"): 2,
    (Kind.REDIS, "flush"): 3,
    (Kind.NETWORK, "delay"): 6,
    (Kind.NETWORK, "cut"): 8,
    (Kind.NETWORK, "black hole"): 4,
    (Kind.NETWORK, "deaf"): 4,
    (Kind.NETWORK, "half close"): 4,
    (Kind.AGGREGATOR, "slow"): 3,
    (Kind.AGGREGATOR, "fail"): 3,
    (Kind.AGGREGATOR, "half a list"): 3,
    (Kind.SUBSCRIBER, "refuse"): 3,
    (Kind.SUBSCRIBER, "slow"): 2,
    (Kind.SUBSCRIBER, "hang up"): 3,
    (Kind.CLOCK, "an hour ahead"): 1,
    (Kind.CLOCK, "an hour behind"): 1,
}
PROCESS_KINDS = {Kind.KILL, Kind.FAILPOINT, Kind.CLOCK}
BESIDE = 0.3  # of the time that a fault lasts otherwise, where every failpoint has its turn
PROXIES = ("postgres", "redis", "finbank")
MOMENTARY = {"cut", "half close"}


def draw_blows(plan: Plan) -> Iterator[Blow]:
    """Draw faults: without end, or where `every_failpoint` is set each failpoint once with another fault beside it."""
    rng = Random(plan.seed)  # noqa: S311 - faults, nothing secret
    if plan.every_failpoint:
        yield from _every_failpoint(rng, plan)
        return
    for number in count(1):
        wait_s = rng.uniform(0.1, 1.4) + (CALM_S if number % CALM_EVERY == 0 else 0.0)
        yield _drawn(rng, plan, WEIGHTS, wait_s=wait_s)


def _every_failpoint(rng: Random, plan: Plan) -> Iterator[Blow]:
    beside = {each: weight for each, weight in WEIGHTS.items() if each[0] not in PROCESS_KINDS}
    drawn = rng.sample(list(Failpoint), len(Failpoint))
    for failpoint in sorted(drawn, key=lambda each: each not in DELIVERY_FAILPOINTS):
        yield Blow(kind=Kind.FAILPOINT, what=failpoint)
        blow = _drawn(rng, plan, beside, wait_s=0.0)
        yield replace(blow, for_s=blow.for_s * BESIDE)


def _drawn(rng: Random, plan: Plan, weights: Mapping[tuple[Kind, str], int], *, wait_s: float) -> Blow:
    kind, what = rng.choices(list(weights), list(weights.values()))[0]
    where, for_s, number = "", 0.0, 1
    match kind:
        case Kind.KILL | Kind.CLOCK:
            number = rng.randrange(plan.workers * plan.ingresses)
            where = rng.choice(("ingress", "worker")) if kind is Kind.CLOCK else ""
        case Kind.FAILPOINT:
            what, number = rng.choice(list(Failpoint)), rng.choice((1, 1, 2, 3, 7))
        case Kind.NETWORK:
            where = rng.choice(PROXIES)
            for_s = 0.0 if what in MOMENTARY else rng.uniform(0.3, 4.0)
        case Kind.AGGREGATOR | Kind.SUBSCRIBER:
            for_s = rng.uniform(0.5, 4.0)
            number = rng.randint(1, 5)
        case Kind.REDIS | Kind.POSTGRES:
            for_s = rng.uniform(0.0, 2.0) if what in {"stop", "restart"} else 0.0
    return Blow(kind=kind, what=what, where=where, wait_s=wait_s, for_s=for_s, number=number)
