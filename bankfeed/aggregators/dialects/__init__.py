"""How each kind of sender writes its webhooks: bytes in, Notice out. Pure; nothing is looked up, nothing is stored.

A body is a hint to go and look: no amount, state or name is taken from it, only which ids to ask about.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bankfeed.aggregators import Dialect
from bankfeed.aggregators.dialects.finicity import read_finicity
from bankfeed.aggregators.dialects.ledgersync import read_ledgersync
from bankfeed.aggregators.dialects.plaid import read_plaid

__all__ = ["DIALECTS", "read_finicity", "read_ledgersync", "read_plaid"]

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {"ledgersync": read_ledgersync, "finicity": read_finicity, "plaid": read_plaid}
)
