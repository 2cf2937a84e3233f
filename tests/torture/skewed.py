"""Run `python -m <module>` with a clock that is off: `time.time` is; `datetime.now` is C, and stays right.

Set by BANKFEED_TEST_MODULE and BANKFEED_TEST_CLOCK_OFF_S. Nothing else of the process is touched.
"""

import os
import runpy
import time


def main() -> None:
    """Move the clock, then become the module."""
    off_s = float(os.environ["BANKFEED_TEST_CLOCK_OFF_S"])
    right = time.time
    time.time = lambda: right() + off_s
    runpy.run_module(os.environ["BANKFEED_TEST_MODULE"], run_name="__main__")


if __name__ == "__main__":
    main()
