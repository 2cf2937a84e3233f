"""A feed simulator with known truth: what the reconcile engine makes of feeds, counted after every pull.

Finbank's world says what happens at the bank; `feeds` tells it as pulls, `people` book rows to ledger entries, `run`
puts both through the engine and `truth` says what should be in view. Pure: no HTTP, no database, no clock.
"""
