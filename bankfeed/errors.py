"""What can go wrong, split by who must act. Pure.

Anything that is none of these is a bug and rises. Each docstring is the sentence a person reads.
"""


class BankfeedError(Exception):
    """Something went wrong that Bankfeed has words for."""


class BadRequest(BankfeedError):
    """The caller sent something that cannot be accepted; the text says what was expected and what came."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotFound(BankfeedError):
    """There is no such thing, or it is not the caller's."""


class Unauthorized(BankfeedError):
    """The caller did not prove who it is."""


class Unavailable(BankfeedError):
    """Something that Bankfeed stands on is away; trying again later is right."""


class RefusedData(BankfeedError):
    """Postgres refused a value; whoever sent it has to send another."""


class ActRefused(BankfeedError):
    """What a person wants to do does not fit the row as it is now; the text says what was expected and what came."""


class LeaseLost(BankfeedError):
    """Another worker holds this work now; whatever was done since the lease ended is not committed."""


class SettingsError(BankfeedError):
    """The settings cannot be used; the text lists every problem, one a line."""


class AggregatorError(BankfeedError):
    """The aggregator, or the bank behind it, did not give what was asked.

    `code` is the aggregation status code where one came, else None. `is_retryable` is False where asking again without
    a person cannot help.
    """

    def __init__(self, message: str, *, code: int | None = None, is_retryable: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.is_retryable = is_retryable


class NoSuchAccount(AggregatorError):
    """The aggregator says that it has no such account (or no account for that login or customer)."""


class StillAsking(AggregatorError):
    """The aggregator asks the bank already, or has not ended yet; it goes on, and what comes of it shows in its accounts."""


class BadAggregatorAnswer(AggregatorError):
    """The aggregator's answer is not of its documented shape."""
