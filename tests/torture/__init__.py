"""The torture suite: real processes, faults on purpose, and an account of every event. `python -m tests.torture --help`."""
