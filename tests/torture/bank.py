"""Life at Finbank while the run goes on: logins are linked, rows come and post and go, nights pass, logins break and mend."""

import asyncio
import random
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal

from tests.finbank import FinbankProcess, Link
from tests.torture.plan import Plan
from tests.torture.post import Post

INSTITUTIONS = (101732, 102105, 102168, 102176)
NIGHTS = 25  # a run passes at most so many, that nothing falls out of what the bank serves
NIGHT_S = 2.0  # at least
MOST_DELETED = 0.05  # of all accounts
FIRST_DELETED = 40  # acts: so that the account has most likely been seen here
WRONG_PASSWORD = 103
HINTS_A_TURN = 3
PAUSE_S = 0.15


@dataclass(slots=True)
class Life:
    """Acts at the bank, one after the other, each followed by some hints; drawn from `rng`."""

    plan: Plan
    finbank: FinbankProcess
    post: Post
    customers: list[str]
    rng: random.Random
    links: list[Link] = field(default_factory=list)
    linked: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)
    broken: set[int] = field(default_factory=set)
    acts: int = 0
    _made: deque[tuple[int, Link]] = field(default_factory=deque)
    _accounts: list[tuple[int, Link]] = field(default_factory=list)

    async def begin(self) -> None:
        """Link half of the logins."""
        for _ in range(self.plan.logins // 2):
            await self._link()

    async def live(self) -> None:
        """Act until cancelled."""
        loop = asyncio.get_running_loop()
        began, nights = loop.time(), 0
        while True:
            spent = (loop.time() - began) / self.plan.seconds
            if nights < min(1.0, spent) * min(NIGHTS, self.plan.seconds / NIGHT_S):
                nights += 1
                await self.finbank.pass_nights()
            elif len(self.links) < self.plan.logins * min(1.0, 0.5 + 0.7 * spent):
                await self._link()
            else:
                await self._act()
            self.acts += 1
            for _ in range(self.rng.randint(0, HINTS_A_TURN)):
                self._hint()
            await asyncio.sleep(PAUSE_S)

    async def calm_down(self) -> None:
        """Link what is not linked yet and mend what is broken, so that all can be as it should be."""
        while len(self.links) < self.plan.logins:
            await self._link()
        for login_id in sorted(self.broken):
            await self.finbank.control("POST", f"logins/{login_id}/fix")
        self.broken.clear()

    async def is_told(self) -> bool:
        """Tell whether the bank has announced all that it had to."""
        announced = await self.finbank.control("GET", "announcements")
        if announced["givenUp"]:
            raise AssertionError(f"Finbank gave {announced['givenUp']} letters up; the relay takes every one")
        return bool(announced["outstanding"] == 0)

    async def _link(self) -> None:
        number = len(self.links)
        customer = self.customers[number % len(self.customers)]
        linked = await self.finbank.control(
            "POST",
            "link",
            customerId=int(customer),
            institutionId=INSTITUTIONS[number % len(INSTITUTIONS)],
            username=f"demo{number}",
            password="go",
            accounts=["checking", "savings", "creditCard"],
        )
        link = Link(login_id=linked["institutionLoginId"], accounts=linked["accounts"])
        self.links.append(link)
        self.linked.update(link.accounts.values())
        self._accounts += [(account_id, link) for account_id in link.accounts.values()]

    async def _act(self) -> None:
        match self.rng.randrange(20):
            case 0:
                await self._break_or_mend()
            case 1 if self.acts > FIRST_DELETED and len(self.deleted) < MOST_DELETED * len(self._accounts):
                await self._delete()
            case 2:
                await self._change_dialect()
            case number if number < 9 and self._made:
                await self._change_row()
            case _:
                await self._make_row()

    async def _make_row(self) -> None:
        account_id, link = self.rng.choice(self._accounts)
        cents = self.rng.randint(100, 99_999) * self.rng.choice((-1, -1, 1))
        made = await self.finbank.control(
            "POST",
            "transactions",
            accountId=account_id,
            amount=float(Decimal(cents).scaleb(-2)),
            description=f"TORTURE {self.acts:06d}",
            status=self.rng.choice(("pending", "pending", "active")),
        )
        self._made.append((made["id"], link))
        await self._aggregate(link)

    async def _change_row(self) -> None:
        row_id, link = self._made.popleft()
        change = self.rng.choice(({"status": "active"}, {"status": "active", "newId": True}, {"withdraw": True}))
        await self.finbank.control("PATCH", f"transactions/{row_id}", **change)
        await self._aggregate(link)

    async def _aggregate(self, link: Link) -> None:
        await self.finbank.control("POST", "aggregate", loginId=link.login_id)

    async def _break_or_mend(self) -> None:
        if self.broken:
            login_id = self.broken.pop()
            await self.finbank.control("POST", f"logins/{login_id}/fix")
            return
        link = self.rng.choice(self.links)
        self.broken.add(link.login_id)
        await self.finbank.control("POST", f"logins/{link.login_id}/break", code=WRONG_PASSWORD)
        await self._aggregate(link)

    async def _delete(self) -> None:
        """Delete an account of a login linked long ago; each login keeps one."""
        account_id = self.rng.choice(list(self.links[0].accounts.values())[1:])
        if account_id in self.deleted:
            return
        self.deleted.add(account_id)
        self._accounts = [each for each in self._accounts if each[0] != account_id]
        self._made = deque(each for each in self._made if each[1] is not self.links[0])
        await self.finbank.control("DELETE", f"accounts/{account_id}")

    async def _change_dialect(self) -> None:
        dialect = self.rng.choice(("ledgersync", "finicity"))
        await self.finbank.control("POST", "announce", dialect=dialect, txpush=self.rng.random() < 0.5)

    def _hint(self) -> None:
        account_id, link = self.rng.choice(self._accounts)
        self.post.hint([account_id] if self.rng.random() < 0.5 else list(link.accounts.values()))
