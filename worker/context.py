"""What every lane of the worker works with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bankfeed.aggregators import Aggregator
from bankfeed.db import Database
from bankfeed.jobs import Waker
from bankfeed.settings import Settings
from worker.listings import Listings
from worker.looks import Looks


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """`connectors` maps a source's connector word to the aggregator behind it."""

    database: Database
    connectors: Mapping[str, Aggregator]
    waker: Waker
    settings: Settings
    listings: Listings = field(default_factory=Listings)
    looks: Looks = field(default_factory=Looks)
