"""What an integration does first: sign in, look around, copy every transaction, then only what changed.

Run it against `make run`: python docs/quickstart.py http://127.0.0.1:8780 demo@bankfeed.example PASSWORD
"""

import asyncio
import sys

from bankfeed.client import ApiError, Bankfeed, Transaction


async def main(url: str, email: str, password: str) -> None:
    """Copy the first client's transactions, and follow them."""
    async with await Bankfeed.sign_in(url, email=email, password=password) as feeds:
        clients = [client async for client in feeds.clients()]
        client = clients[0]
        print(f"{client.name}: {client.bank_accounts} bank accounts, {client.sub_accounts} sub-accounts")

        async for bank in feeds.bank_accounts(client_id=client.id):
            print(f"  {bank.name}: {bank.message}")

        # Your copy, and the cursor beside it: write both in one transaction of your own database.
        mine: dict[int, Transaction] = {}
        cursor: str | None = None
        async for page in feeds.changes(client_id=client.id, cursor=cursor):
            mine |= {row.id: row for row in (*page.added, *page.updated)}
            for gone in page.removed:
                mine.pop(gone, None)
            cursor = page.next_cursor
        print(f"copied {len(mine)} transactions")

        # Ask the bank, wait, and take what changed since.
        async for bank in feeds.bank_accounts(client_id=client.id):
            try:
                refresh = await feeds.wait_for(await feeds.refresh(bank.id))
            except ApiError as error:
                print(f"  {bank.name}: {error.message}")
                continue
            print(f"  {bank.name}: refreshed, {refresh.message}")
        async for page in feeds.changes(client_id=client.id, cursor=cursor):
            print(f"since then {len(page.added)} added, {len(page.updated)} updated, {len(page.removed)} removed")
            cursor = page.next_cursor

        newest = [row async for row in feeds.transactions(client_id=client.id, limit=5, status="active")][:5]
        for row in newest:
            print(f"  {row.transacted_on} {row.amount:>10} {row.currency}  {row.description}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
