"""All pages of one account's transactions. What goes wrong on the way is part of the result, never raised.

`start` counts records from 1. A page ends the listing when it is short or reaches `found`, the aggregator's own count;
its `moreAvailable` is not read, because it has been seen to stay "true" for ever.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from bankfeed.aggregators.finicity_http import Answer, Ask
from bankfeed.aggregators.finicity_wire import Reading, TransactionsAnswer, Unreadable, read_row
from bankfeed.errors import AggregatorError
from bankfeed.model import Reported


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """Where the pages of one account and window come from."""

    send: Callable[[Ask], Awaitable[Answer]]
    path: tuple[str, ...]
    window: Mapping[str, str]
    page_rows: int
    max_pages: int

    async def get(self, start: int) -> TransactionsAnswer:
        """Fetch the page that begins with record `start`. Raises AggregatorError."""
        query = {
            **self.window,
            "start": str(start),
            "limit": str(self.page_rows),
            "sort": "asc",  # rows that arrive meanwhile come at the end
            "includePending": "true",
        }
        answer = await self.send(Ask(to="list transactions", path=self.path, query=query))
        return answer.read(TransactionsAnswer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The rows that could be read. `error` is None when they are all that there are, `found` what was counted.

    `failed_by` is the refusal that the listing broke off with, None where there was none: what cannot be read, or does not
    add up, is this account's own, and says nothing of its login.
    """

    rows: tuple[Reported, ...]
    found: int | None
    error: str | None = None
    failed_by: AggregatorError | None = None
    has_shifted: bool = False


async def list_transactions(pages: Pages, reading: Reading) -> Listing:
    """List all pages; begin again, once, where the number of rows changes on the way."""
    listing = await _list_once(pages, reading)
    return await _list_once(pages, reading) if listing.has_shifted else listing


async def _list_once(pages: Pages, reading: Reading) -> Listing:
    rows: list[Reported] = []
    faults: list[str] = []
    found: int | None = None
    start = 1
    for _ in range(pages.max_pages):
        try:
            page = await pages.get(start)
        except AggregatorError as error:
            return Listing(rows=tuple(rows), found=found, error=str(error), failed_by=error)
        if start > 1 and page.found != found:
            return Listing(rows=tuple(rows), found=page.found, error=_shifted(found, page.found), has_shifted=True)
        found = page.found
        rows.extend(_read_rows(page.transactions, start, reading, faults))
        start += len(page.transactions)
        if len(page.transactions) < pages.page_rows or (found is not None and start > found):
            return Listing(rows=tuple(rows), found=found, error=_find_error(faults, found, start - 1))
    return Listing(rows=tuple(rows), found=found, error=f"there are more than {pages.max_pages} pages")


def _read_rows(raws: list[msgspec.Raw], start: int, reading: Reading, faults: list[str]) -> Iterator[Reported]:
    for index, raw in enumerate(raws, start):
        try:
            yield read_row(raw, reading)
        except Unreadable as error:
            faults.append(f"row {index} cannot be read: {error}")


def _find_error(faults: list[str], found: int | None, listed: int) -> str | None:
    if faults:
        return faults[0] if len(faults) == 1 else f"{faults[0]} (and {len(faults) - 1} more)"
    if found is not None and found != listed:
        return f"the aggregator counted {found} rows and listed {listed}"
    return None


def _shifted(before: int | None, after: int | None) -> str:
    return f"the number of rows changed from {before} to {after} between two pages"
