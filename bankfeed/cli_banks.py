"""The commands on what banks are and what is linked at them: `bankfeed institutions` and `accounts`. Thin, like all of them."""

import click

from bankfeed.cli_words import MOST_ID, Commands, Whole

INSTITUTIONS_EXAMPLES = """\
bankfeed institutions list --search finbank
bankfeed institutions same 4711 101        4711 is 101, at another aggregator
bankfeed institutions unsame 4711
"""
ACCOUNTS_EXAMPLES = """\
bankfeed accounts unhide 4711
bankfeed accounts unhide 4711 --customer 1
"""


@click.group(cls=Commands, epilog=INSTITUTIONS_EXAMPLES, short_help="Say which institutions are the same one.")
def institutions() -> None:
    """List institutions, or say that one is another one at another aggregator.

    What is linked at either then counts as linked at one bank: an account that left through one aggregator and comes through
    the other goes on, with its rows, links and names.
    """


@institutions.command("list", epilog=INSTITUTIONS_EXAMPLES, short_help="List institutions by name.")
@click.option("--search", "text", default="", metavar="TEXT", help="Only those with this in their name.")
@click.option("--limit", type=Whole(1, 1000), default=50, show_default=True, metavar="N", help="How many at most.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")
def list_institutions(text: str, limit: int, *, as_json: bool) -> None:
    """List institutions by name: id, aggregator, status, and which one each is the same as."""
    from bankfeed.institutions_command import run_list  # noqa: PLC0415 - a command imports what it runs

    run_list(text=text, limit=limit, as_json=as_json)


@institutions.command(epilog=INSTITUTIONS_EXAMPLES, short_help="Say that one is another one.")
@click.argument("institution_id", type=Whole(1, MOST_ID), metavar="ID")
@click.argument("of_id", type=Whole(1, MOST_ID), metavar="OF_ID")
def same(institution_id: int, of_id: int) -> None:
    """Say that the institution ID is OF_ID, at another aggregator. Safe to repeat."""
    from bankfeed.institutions_command import run_same  # noqa: PLC0415 - a command imports what it runs

    run_same(institution_id, of_id)


@institutions.command(epilog=INSTITUTIONS_EXAMPLES, short_help="Take that back.")
@click.argument("institution_id", type=Whole(1, MOST_ID), metavar="ID")
def unsame(institution_id: int) -> None:
    """Let the institution ID be one of its own again. What went on meanwhile stays as it is. Safe to repeat."""
    from bankfeed.institutions_command import run_unsame  # noqa: PLC0415 - a command imports what it runs

    run_unsame(institution_id)


@click.group(cls=Commands, epilog=ACCOUNTS_EXAMPLES, short_help="Show a hidden account again.")
def accounts() -> None:
    """What only the operator does to an account."""


@accounts.command(epilog=ACCOUNTS_EXAMPLES, short_help="Show a hidden account again.")
@click.argument("account_id", type=Whole(1, MOST_ID), metavar="ACCOUNT_ID")
@click.option("--customer", "customer_id", type=Whole(1, MOST_ID), metavar="ID", help="Whose it is.")
def unhide(account_id: int, customer_id: int | None) -> None:
    """Show a hidden account again, with a line in its customer's audit log. Safe to repeat.

    Nothing else undoes hiding: no page, no key, no refresh, no linking anew. Ask the firm first.
    """
    from bankfeed.accounts_command import run_unhide  # noqa: PLC0415 - a command imports what it runs

    run_unhide(account_id, customer_id=customer_id)
