"""Where a simulated account is kept: the one place here that knows the store in memory."""

from datetime import datetime

from bankfeed.model import Known, Pull, TransactionId
from bankfeed.reconcile import Changes
from bankfeed.reconcile.adoption import Identity
from bankfeed.replay.book import Book

NAME = "simulated"


class Store:
    """One account of a book of its own."""

    def __init__(self) -> None:
        self._book = Book()
        identity = Identity(institution="1", type="checking", number="1")
        self._book.open_account(NAME, identity=identity, currency="USD")

    @property
    def rows(self) -> dict[TransactionId, Known]:
        """Return the rows by id, in order of arrival."""
        return self._book.account(NAME).rows

    def pull(self, pull: Pull) -> Changes:
        """Run a pull through the engine and write what it changes."""
        return self._book.pull(NAME, pull)

    def link(self, row_id: TransactionId, entry: str, *, at: datetime) -> None:
        """Book a row to a ledger entry."""
        self._book.link(row_id, entry, at=at)

    def find_bearer(self, entry: str) -> Known | None:
        """Return the row that an entry stands on, None where none has it."""
        return next((row for row in self.rows.values() if entry in row.entries), None)
