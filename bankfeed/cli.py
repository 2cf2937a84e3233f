"""The `bankfeed` command. Thin: each command reads its arguments, and imports what it runs only then."""

import os
import sys
from pathlib import Path

import click

from bankfeed import __version__
from bankfeed.cli_banks import accounts, institutions
from bankfeed.cli_cases import cases
from bankfeed.cli_webhooks import deliveries, endpoints, replay_events
from bankfeed.cli_words import MOST_ID, Commands, Whole
from bankfeed.errors import BankfeedError, SettingsError

COMMANDS_EXAMPLES = """\
bankfeed up          start everything on this machine, with a demo bank
bankfeed listen      in another terminal: watch a subscriber's webhooks arrive
bankfeed status      how the connections are, and what waits
"""
UP_EXAMPLES = """\
bankfeed up
BANKFEED_PORT=9780 BANKFEED_WORKER_PORT=9781 BANKFEED_FINBANK_PORT=9790 bankfeed up
BANKFEED_FINBANK_DAY_S=5 bankfeed up       a bank day every 5 seconds
"""
LISTEN_EXAMPLES = """\
bankfeed listen
bankfeed listen --once 1 --json
bankfeed listen --fail 503                 see the retries come
bankfeed listen --port 9000 --secret whsec_...
"""
SEND_EVENT_EXAMPLES = """\
bankfeed send-event deploy/examples/ledgersync-account-added.txt
bankfeed send-event --source finicity event.json
bankfeed send-event --to http://127.0.0.1:8780/webhooks/ledgersync/SECRET - < event.json
"""
STATUS_EXAMPLES = """\
bankfeed status
bankfeed status --watch
bankfeed status --json | python -m json.tool
"""
REPLAY_EXAMPLES = """\
bankfeed replay history.jsonl
bankfeed replay --explain history.jsonl     why did this become shadow?
bankfeed replay --json --all - < history.jsonl
"""
EXPLAIN_EXAMPLES = """\
bankfeed explain 4711 --customer 1
"""
INBOX_EXAMPLES = """\
bankfeed inbox
bankfeed inbox --json
bankfeed inbox requeue 1542 1543
bankfeed inbox requeue --all --reason "unknown at the aggregator"
"""
CUSTOMERS_EXAMPLES = """\
bankfeed customers list
bankfeed customers add --name "Ann's books" --email ann@firm.example
bankfeed customers add --name "Ann's books" --email ann@firm.example --password-stdin < file
"""
SECRETS_EXAMPLES = """\
bankfeed secrets new-key
bankfeed secrets new-key --name k2
bankfeed secrets reencrypt
"""
SCHEMA_EXAMPLES = """\
BANKFEED_OWNER_DATABASE_URL=postgresql://owner:...@db.example/bankfeed bankfeed schema
bankfeed schema --url postgresql://owner@localhost/bankfeed
"""


def main() -> int:
    """Run the command line; return the exit status: 0 well, 1 not, 2 for arguments or settings that cannot be used."""
    try:
        return int(commands.main(prog_name="bankfeed", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:  # whoever read us has gone; what is still buffered goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SettingsError as error:
        click.echo(str(error), err=True)
        return 2
    except BankfeedError as error:
        click.echo(f"bankfeed: {error}", err=True)
        return 1


@click.group(cls=Commands, epilog=COMMANDS_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="bankfeed %(version)s")
def commands() -> None:
    """Bank-feed sync: an aggregator's webhooks in, exact rows in Postgres, signed webhooks out."""


@commands.command(epilog=UP_EXAMPLES, short_help="Start everything here, with a demo bank.")
def up() -> None:
    """Start everything on this machine, with a demo bank; Ctrl-C stops it.

    Postgres and Redis are started too, unless BANKFEED_DATABASE_URL and BANKFEED_REDIS_URL name others. All that is made
    lies in the folder BANKFEED_DATA (.bankfeed beside the checkout's files).
    """
    from bankfeed.up.supervisor import run_up  # noqa: PLC0415 - a command imports what it runs

    run_up()


@commands.command(epilog=LISTEN_EXAMPLES, short_help="Receive webhooks like a subscriber.")
@click.option("--port", type=Whole(1, 65535), metavar="N", help="Port to listen on (BANKFEED_LISTEN_PORT).")
@click.option("--secret", metavar="SECRET", help="The endpoint's secret, whsec_... (BANKFEED_LISTEN_SECRET).")
@click.option("--once", type=Whole(1, 1_000_000), metavar="N", help="End after N events; 1 if any was refused.")
@click.option("--fail", type=Whole(300, 599), metavar="STATUS", help="Answer verified events so, to watch retries.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
def listen(port: int | None, secret: str | None, once: int | None, fail: int | None, *, as_json: bool) -> int:
    """Receive webhooks like a subscriber: verify each signature and show what arrives.

    Answers 204 where the signature is right and 401 where it is not. Beside a running `bankfeed up` nothing needs to be
    said.
    """
    from bankfeed.listen import run_listen  # noqa: PLC0415 - a command imports what it runs

    return run_listen(port=port, secret=secret, once=once, fail=fail, as_json=as_json)


@commands.command("send-event", epilog=SEND_EVENT_EXAMPLES, short_help="Post an event to an ingress, signed.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--to", "url", metavar="URL", help="An ingress, or the full address of one of its sources.")
@click.option("--source", "slug", metavar="SLUG", help="The source to come in through [default: ledgersync].")
def send_event(file: Path, url: str | None, slug: str | None) -> int:
    """Post the event in FILE (- is standard input) to an ingress, signed as its source wants.

    Ends with 0 only where it was accepted (2xx). The file is sent as it is, byte for byte.
    """
    from bankfeed.send import run_send  # noqa: PLC0415 - a command imports what it runs

    return run_send(file, url=url, slug=slug)


@commands.command(epilog=STATUS_EXAMPLES, short_help="Show the connections and what waits.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
def status(*, as_json: bool, watch: bool) -> None:
    """Show the connections with state and age, and what waits."""
    from bankfeed.status import run_status  # noqa: PLC0415 - a command imports what it runs

    run_status(as_json=as_json, watch=watch)


@commands.command(epilog=REPLAY_EXAMPLES, short_help="Run a feed history from a file.")
@click.argument("file")
@click.option("--json", "as_program", is_flag=True, help="One JSON object, for programs.")
@click.option("--explain", "with_steps", is_flag=True, help="Tell each row's life, a line a step with its rule.")
@click.option("--all", "with_gone", is_flag=True, help="Show removed, deleted and merged rows too.")
@click.option(
    "--shadow-policy",
    "policy",
    type=click.Choice(["hide", "show", "confirm", "delete"]),
    default="hide",
    show_default=True,
    help="What the customer chose for rows that the bank no longer reports.",
)
def replay(file: str, *, policy: str, as_program: bool, with_steps: bool, with_gone: bool) -> int:
    """Run the feed history in FILE (- is standard input) through the real engine, without a server.

    Each line is a JSON object, one step of one account, in order of time: account, pull, link, reconcile, delete, merge,
    split, unlink (the account left). A pull's kind is full or delta; amounts are text. CONTRIBUTING.md shows one whole.

    Prints what each step did, the rows where they end, and what a person is asked. A line that cannot be read, or does
    not fit, ends with 2 and says what was expected.
    """
    from bankfeed.replay.show import run_replay  # noqa: PLC0415 - a command imports what it runs

    return run_replay(file, policy=policy, as_program=as_program, with_steps=with_steps, with_gone=with_gone)


@commands.command(epilog=EXPLAIN_EXAMPLES, short_help="Tell a transaction's life, and why.")
@click.argument("transaction_id", type=Whole(1, MOST_ID), metavar="TRANSACTION_ID")
@click.option("--customer", "customer_id", type=Whole(1, MOST_ID), metavar="ID", required=True, help="Whose it is.")
def explain(transaction_id: int, customer_id: int) -> None:
    """Tell how a transaction came, what changed it and by which rule, and how it stands, a line a step."""
    from bankfeed.explain import run_explain  # noqa: PLC0415 - a command imports what it runs

    run_explain(customer_id, transaction_id)


@commands.group(cls=Commands, epilog=INBOX_EXAMPLES, invoke_without_command=True, short_help="Show what was set aside.")
@click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")
@click.pass_context
def inbox(context: click.Context, *, as_json: bool) -> None:
    """Show the events that were set aside, newest first, or let them be tried again."""
    if context.invoked_subcommand is None:
        from bankfeed.inbox import run_list  # noqa: PLC0415 - a command imports what it runs

        run_list(as_json=as_json)


@inbox.command(epilog=INBOX_EXAMPLES, short_help="Let set-aside events be tried again.")
@click.argument("ids", nargs=-1, type=Whole(1, MOST_ID), metavar="ID...")
@click.option("--all", "is_all", is_flag=True, help="All of them, instead of some ids.")
@click.option("--reason", metavar="TEXT", help="Only those whose reason has this in it.")
def requeue(ids: tuple[int, ...], reason: str | None, *, is_all: bool) -> None:
    """Let events that were set aside wait again, due now and with no try counted. Safe to repeat."""
    from bankfeed.inbox import run_requeue  # noqa: PLC0415 - a command imports what it runs

    if is_all == bool(ids):
        raise click.UsageError(f"expected ids or --all, got {'both' if ids else 'neither'}")
    run_requeue(None if is_all else ids, reason=reason)


@commands.group(cls=Commands, epilog=CUSTOMERS_EXAMPLES, short_help="Add and list customers.")
def customers() -> None:
    """Add a customer with its owner, or list those there are."""


@customers.command(epilog=CUSTOMERS_EXAMPLES, short_help="Make a customer with its owner.")
@click.option("--name", metavar="NAME", required=True, help="The firm's name.")
@click.option("--email", metavar="ADDRESS", required=True, help="Its owner's e-mail address.")
@click.option("--password-stdin", "reads_password", is_flag=True, help="Take the password from standard input.")
def add(name: str, email: str, *, reads_password: bool) -> None:
    """Make a customer of this deployment's environment, with its owner.

    The password is asked for, and not shown; without a terminal, or where none is typed, one is made and printed once.
    """
    from bankfeed.customers import run_add  # noqa: PLC0415 - a command imports what it runs

    run_add(name=name, email=email, reads_password=reads_password)


@customers.command("list", epilog=CUSTOMERS_EXAMPLES, short_help="List the customers.")
def list_customers() -> None:
    """List the customers with their environment and owners."""
    from bankfeed.customers import run_list  # noqa: PLC0415 - a command imports what it runs

    run_list()


@commands.group(
    "secrets", cls=Commands, epilog=SECRETS_EXAMPLES, short_help="Make keys for secrets at rest, seal anew."
)
def secrets_group() -> None:
    """Make a key that seals endpoints' secrets, or seal all of them anew after a change of keys."""


@secrets_group.command("new-key", epilog=SECRETS_EXAMPLES, short_help="Print a new key.")
@click.option("--name", metavar="NAME", help="Its name, which no other key has [default: k and the day].")
def new_key(name: str | None) -> None:
    """Print one new key as BANKFEED_SECRET_KEYS takes it, comma-separated: the first seals, all of them open.

    Nothing is changed or kept. deploy/RUNBOOK.md says in which order processes get it.
    """
    from bankfeed.keyring import run_new_key  # noqa: PLC0415 - a command imports what it runs

    run_new_key(name)


@secrets_group.command("reencrypt", epilog=SECRETS_EXAMPLES, short_help="Seal everything anew.")
def reencrypt() -> int:
    """Seal endpoints' secrets, signing keys and headers anew with the first key of BANKFEED_SECRET_KEYS.

    Safe to break off and to repeat, and beside running processes. Ends with 1 where something could not be opened; that is
    named and left as it is.
    """
    from bankfeed.keyring import run_reencrypt  # noqa: PLC0415 - a command imports what it runs

    return run_reencrypt()


@commands.command(epilog=SCHEMA_EXAMPLES, short_help="Load schema.sql, as the owner.")
@click.option("--url", metavar="URL", help="The database, as its owner (BANKFEED_OWNER_DATABASE_URL).")
def schema(url: str | None) -> None:
    """Load schema.sql, as the database's owner. Safe to repeat."""
    from bankfeed.load import run_schema  # noqa: PLC0415 - a command imports what it runs

    click.echo(run_schema(url))


for command in (institutions, accounts, cases, endpoints, deliveries, replay_events):
    commands.add_command(command)


if __name__ == "__main__":
    sys.exit(main())
