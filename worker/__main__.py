"""`python -m worker`."""

from bankfeed.runtime import run_process
from worker.app import main

if __name__ == "__main__":
    run_process("worker", main)
