"""The commands on webhooks out: `bankfeed endpoints`, `deliveries` and `replay-events`. Thin, like all of them."""

from typing import Any, Final
from uuid import UUID

import click

from bankfeed.cli_words import MOST_ID, Commands, Unique, When, Whole, WithExamples
from bankfeed.model import EventType

EVENT_TYPES: Final = [each.value for each in EventType]
ENDPOINTS_EXAMPLES = """\
bankfeed endpoints
bankfeed endpoints --customer 1 --json
bankfeed endpoints disable 7 --reason "asked for by the firm, until Monday"
bankfeed endpoints enable 7 --discard      what waits fails unsent
"""
DELIVERIES_EXAMPLES = """\
bankfeed deliveries --state failed --since 3d
bankfeed deliveries --endpoint 7 --limit 20 --json
bankfeed deliveries show 4711
bankfeed deliveries retry 4711 4712
"""
REPLAY_EVENTS_EXAMPLES = """\
bankfeed replay-events --customer 1 --endpoint 7 --since 2026-11-01 --dry-run
bankfeed replay-events --customer 1 --endpoint 7 --since 7d --failed --rate 20
bankfeed replay-events --customer 1 --endpoint 7 --since 12h --type accountAdded --client 12
bankfeed replay-events --customer 1 --endpoint 7 --event 3f1c2a54-0d0e-4a6b-9a53-2d5f8f7f9a10 --yes
"""

customer_option = click.option("--customer", "customer_id", type=Whole(1, MOST_ID), metavar="ID", help="Whose it is.")


@click.group(
    cls=Commands, epilog=ENDPOINTS_EXAMPLES, invoke_without_command=True, short_help="Show subscribers' endpoints."
)
@click.option("--customer", "customer_id", type=Whole(1, MOST_ID), metavar="ID", help="Only this customer's.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")
@click.pass_context
def endpoints(context: click.Context, customer_id: int | None, *, as_json: bool) -> None:
    """Show subscribers' endpoints: state, failures in a row, and what waits; or disable or enable one.

    Of a URL only the host is shown: the path may be a secret.
    """
    if context.invoked_subcommand is None:
        from bankfeed.endpoints_command import run_list  # noqa: PLC0415 - a command imports what it runs

        run_list(customer_id=customer_id, as_json=as_json)


@endpoints.command(epilog=ENDPOINTS_EXAMPLES, short_help="Deliver nothing to an endpoint for now.")
@click.argument("endpoint_id", type=Whole(1, MOST_ID), metavar="ID")
@click.option("--reason", metavar="TEXT", required=True, help="Why; the customer sees it.")
@customer_option
def disable(endpoint_id: int, reason: str, customer_id: int | None) -> None:
    """Deliver nothing to an endpoint from now on. What waits for it fails after three days. Safe to repeat."""
    from bankfeed.endpoints_command import run_disable  # noqa: PLC0415 - a command imports what it runs

    run_disable(endpoint_id, customer_id=customer_id, reason=reason)


@endpoints.command(epilog=ENDPOINTS_EXAMPLES, short_help="Deliver to an endpoint again.")
@click.argument("endpoint_id", type=Whole(1, MOST_ID), metavar="ID")
@click.option("--discard", "discards", is_flag=True, help="Let what waits for it fail unsent first.")
@customer_option
def enable(endpoint_id: int, customer_id: int | None, *, discards: bool) -> None:
    """Deliver to an endpoint again, and what waits for it too. Safe to repeat."""
    from bankfeed.endpoints_command import run_enable  # noqa: PLC0415 - a command imports what it runs

    run_enable(endpoint_id, customer_id=customer_id, discards=discards)


@click.group(
    cls=Commands, epilog=DELIVERIES_EXAMPLES, invoke_without_command=True, short_help="Show deliveries to subscribers."
)
@click.option("--customer", "customer_id", type=Whole(1, MOST_ID), metavar="ID", help="Only this customer's.")
@click.option("--endpoint", "endpoint_id", type=Whole(1, MOST_ID), metavar="ID", help="Only to this endpoint.")
@click.option("--state", type=click.Choice(["waiting", "delivered", "failed"]), help="Only those that stand so.")
@click.option("--type", "event_type", type=click.Choice(EVENT_TYPES), help="Only of events of this type.")
@click.option("--client", "client_id", type=Whole(1, MOST_ID), metavar="ID", help="Only of events about this client.")
@click.option("--event", "event_id", type=Unique(), metavar="UUID", help="Only of this event.")
@click.option("--since", type=When(), default="7d", show_default=True, metavar="TIME", help="Of events from then on.")
@click.option("--until", type=When(), metavar="TIME", help="Of events before then.")
@click.option("--limit", type=Whole(1, 1000), default=50, show_default=True, metavar="N", help="How many at most.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")
@click.pass_context
def deliveries(context: click.Context, /, *, customer_id: int | None, limit: int, as_json: bool, **wanted: Any) -> None:
    """Show deliveries, the newest first; one with its attempts; or try some again.

    A TIME is 2026-11-01, 2026-11-01T06:00Z, or how long ago: 3d, 12h.
    """
    if context.invoked_subcommand is None:
        from bankfeed.db.outbound import DeliveryFilter  # noqa: PLC0415 - a command imports what it runs
        from bankfeed.deliveries import run_list  # noqa: PLC0415

        run_list(DeliveryFilter(**wanted), customer_id=customer_id, limit=limit, as_json=as_json)


@deliveries.command(epilog=DELIVERIES_EXAMPLES, short_help="Show a delivery with its attempts.")
@click.argument("delivery_id", type=Whole(1, MOST_ID), metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")
@customer_option
def show(delivery_id: int, customer_id: int | None, *, as_json: bool) -> None:
    """Show how a delivery stands, and what came of each attempt."""
    from bankfeed.deliveries import run_show  # noqa: PLC0415 - a command imports what it runs

    run_show(delivery_id, customer_id=customer_id, as_json=as_json)


@deliveries.command(epilog=DELIVERIES_EXAMPLES, short_help="Try deliveries at once.")
@click.argument("delivery_ids", nargs=-1, required=True, type=Whole(1, MOST_ID), metavar="ID...")
@customer_option
def retry(delivery_ids: tuple[int, ...], customer_id: int | None) -> int:
    """Try deliveries that wait or failed at once: one extra attempt each, beside the schedule.

    Ends with 1 where one of them could not be, and says why.
    """
    from bankfeed.deliveries import run_retry  # noqa: PLC0415 - a command imports what it runs

    return run_retry(delivery_ids, customer_id=customer_id)


@click.command(
    "replay-events", cls=WithExamples, epilog=REPLAY_EVENTS_EXAMPLES, short_help="Tell an endpoint again what was."
)
@click.option("--customer", "customer_id", type=Whole(1, MOST_ID), metavar="ID", required=True, help="Whose it is.")
@click.option("--endpoint", "endpoint_id", type=Whole(1, MOST_ID), metavar="ID", required=True, help="Whom to tell.")
@click.option("--since", type=When(), metavar="TIME", help="Events from then on.")
@click.option("--until", type=When(), metavar="TIME", help="Events before then [default: now].")
@click.option("--type", "types", multiple=True, type=click.Choice(EVENT_TYPES), help="Of this type; may be repeated.")
@click.option("--client", "client_id", type=Whole(1, MOST_ID), metavar="ID", help="About this client.")
@click.option("--event", "event_id", type=Unique(), metavar="UUID", help="This event alone, instead of --since.")
@click.option("--failed", "is_failed_only", is_flag=True, help="Only what the endpoint did not take at last.")
@click.option("--rate", "rate_per_s", type=Whole(1, 1000), metavar="N", help="So many due in a second.")
@click.option("--resume", metavar="CURSOR", help="Go on where a replay was broken off.")
@click.option("--dry-run", "counts_only", is_flag=True, help="Count only.")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
def replay_events(*, event_id: UUID | None, resume: str | None, counts_only: bool, is_sure: bool, **asked: Any) -> int:
    """Deliver events to an endpoint again, under their own ids: counted first, then queued in batches.

    Only what the endpoint gets by its types and bounds; what waits for it already is not doubled. They are due one after
    the other (--rate), so that what happens meanwhile is not kept waiting; the workers send them. Ctrl-C ends it between
    two batches and prints how to go on. A TIME is 2026-11-01, 2026-11-01T06:00Z, or how long ago: 3d, 12h.
    """
    from bankfeed.replay_events import make_asked, run_replay  # noqa: PLC0415 - a command imports what it runs

    if (asked["since"] is None) == (event_id is None):
        raise click.UsageError(f"expected --since or --event, got {'both' if event_id else 'neither'}")
    if asked["until"] and (event_id or resume):
        raise click.UsageError("expected no --until beside --event or --resume, which say when it ends")
    if event_id and resume:
        raise click.UsageError("expected --event or --resume, got both")
    return run_replay(make_asked(**asked), event_id=event_id, resume=resume, is_sure=is_sure, counts_only=counts_only)
