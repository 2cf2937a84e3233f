"""The command on support cases: `bankfeed cases`. Thin, like all of them."""

import click

from bankfeed.cli_words import MOST_ID, Commands, Whole

EXAMPLES = """\
bankfeed cases --state open
bankfeed cases show 4711
bankfeed cases ask 4711 client "Switch on codes by text message at the bank's own site."
bankfeed cases done 4711 12
bankfeed cases close 4711 --note "the bank had an old telephone number"
"""

customer_option = click.option("--customer", "customer_id", type=Whole(1, MOST_ID), metavar="ID", help="Whose it is.")


@click.group(cls=Commands, epilog=EXAMPLES, invoke_without_command=True, short_help="Show and work on support cases.")
@click.option("--customer", "customer_id", type=Whole(1, MOST_ID), metavar="ID", help="Only this customer's.")
@click.option("--state", type=click.Choice(["open", "closed"]), help="Only those that stand so.")
@click.option("--limit", type=Whole(1, 1000), default=50, show_default=True, metavar="N", help="How many at most.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")
@click.pass_context
def cases(context: click.Context, customer_id: int | None, state: str | None, limit: int, *, as_json: bool) -> None:
    """Show support cases, the newest first; one with its facts; or do what support does about one.

    Whoever opened a case hears of each change.
    """
    if context.invoked_subcommand is None:
        from bankfeed.cases_command import run_list  # noqa: PLC0415 - a command imports what it runs

        run_list(customer_id=customer_id, state=state, limit=limit, as_json=as_json)


@cases.command(epilog=EXAMPLES, short_help="Show a case with its facts and actions.")
@click.argument("case_id", type=Whole(1, MOST_ID), metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")
@customer_option
def show(case_id: int, customer_id: int | None, *, as_json: bool) -> None:
    """Show a case: whom to call, why the bank account does not work, what was tried, what is to be done."""
    from bankfeed.cases_command import run_show  # noqa: PLC0415 - a command imports what it runs

    run_show(case_id, customer_id=customer_id, as_json=as_json)


@cases.command(epilog=EXAMPLES, short_help="Add something to be done.")
@click.argument("case_id", type=Whole(1, MOST_ID), metavar="ID")
@click.argument("owner", type=click.Choice(["firm", "client", "support"]))
@click.argument("text")
@customer_option
def ask(case_id: int, owner: str, text: str, customer_id: int | None) -> None:
    """Add something for the firm, the client or support to do about an open case."""
    from bankfeed.cases_command import run_ask  # noqa: PLC0415 - a command imports what it runs

    run_ask(case_id, text, owner=owner, customer_id=customer_id)


@cases.command(epilog=EXAMPLES, short_help="Say that something was done.")
@click.argument("case_id", type=Whole(1, MOST_ID), metavar="ID")
@click.argument("action_id", type=Whole(1, MOST_ID), metavar="ACTION")
@customer_option
def done(case_id: int, action_id: int, customer_id: int | None) -> None:
    """Say that an action of an open case was done. Safe to repeat."""
    from bankfeed.cases_command import run_done  # noqa: PLC0415 - a command imports what it runs

    run_done(case_id, action_id, customer_id=customer_id)


@cases.command(epilog=EXAMPLES, short_help="Close a case.")
@click.argument("case_id", type=Whole(1, MOST_ID), metavar="ID")
@click.option("--note", "text", default="", metavar="TEXT", help="How it ended; the customer sees it.")
@customer_option
def close(case_id: int, text: str, customer_id: int | None) -> None:
    """Close a case; what was not done stays so."""
    from bankfeed.cases_command import run_close  # noqa: PLC0415 - a command imports what it runs

    run_close(case_id, text=text, customer_id=customer_id)
