"""Rules of the books: lines that balance, entries that follow their transactions until they are posted. Pure.

An amount is positive where it is a debit and negative where it is a credit. Money into an account is a debit of the bank's
ledger account, so the bank's line of an entry has the transaction's own amount and sign, cards and loans included. The
lines of an entry add up to zero in each currency, exactly.
"""
