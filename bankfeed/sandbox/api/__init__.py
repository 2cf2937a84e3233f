"""The aggregator's API as Finicity writes it: one file per noun, and what they share.

Handlers only read the request, call the bank and write the answer; refusals are values that the middleware writes.
"""
