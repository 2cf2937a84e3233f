"""`bankfeed up`: everything on this machine, with a demo bank, until Ctrl-C.

The supervisor starts each part as a process of its own and stops it again; it is no part of the product, and nothing of
the product imports it. What it makes lies in the data folder: `make clean` removes it.
"""
