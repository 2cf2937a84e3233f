"""`python -m ingress`."""

from bankfeed.runtime import run_process
from ingress.app import main

if __name__ == "__main__":
    run_process("ingress", main)
