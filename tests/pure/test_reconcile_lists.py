"""What may be concluded from a list: windows, half lists, repeated and late pulls, deltas."""

from tests.pure.history import history


@history
def test_rows_outside_the_window_stay() -> None:
    """A list says nothing about what lies outside its window.

    pull 03-10
      a1 * 03-01 -12.00 GYM
      a2 * 03-09 -8.00 BAKERY
    link L1 -12.00
    pull 03-11 from=03-05
      a2 * 03-09 -8.00 BAKERY
    =
      * 03-01 -12.00 GYM ^L1
      * 03-09 -8.00 BAKERY
    """


@history
def test_a_row_that_moves_over_the_window_edge() -> None:
    """A row whose date moves into the window is found by its id, and doubles nothing.

    pull 03-10
      a1 * 03-04 -12.00 GYM
      a2 * 03-09 -8.00 BAKERY
    pull 03-11 from=03-05
      a1 * 03-05 -12.00 GYM
      a2 * 03-09 -8.00 BAKERY
    =
      * 03-05 -12.00 GYM
      * 03-09 -8.00 BAKERY
    """


@history
def test_a_bank_that_serves_less_than_is_asked_for() -> None:
    """Rows older than anything listed, and older than banks keep, are not withdrawn.

    pull 03-10 from=01-01
      a1 * 01-05 -12.00 GYM
      a2 * 01-20 -9.00 KIOSK
      a3 * 03-09 -8.00 BAKERY
    pull 03-11 from=01-01
      a3 * 03-09 -8.00 BAKERY
    =
      * 01-05 -12.00 GYM
      * 01-20 -9.00 KIOSK
      * 03-09 -8.00 BAKERY
    """


@history
def test_an_old_row_withdrawn_from_the_middle() -> None:
    """A row younger than the oldest one listed is withdrawn, whatever its age.

    pull 03-10 from=01-01
      a1 * 01-05 -12.00 GYM
      a2 * 01-20 -9.00 KIOSK
      a3 * 03-09 -8.00 BAKERY
    pull 03-11 from=01-01
      a1 * 01-05 -12.00 GYM
      a3 * 03-09 -8.00 BAKERY
    =
      * 01-05 -12.00 GYM
      ~ 01-20 -9.00 KIOSK
      * 03-09 -8.00 BAKERY
    """


@history
def test_rows_dated_outside_the_window_apply() -> None:
    """A row listed outside the window is taken like any other.

    pull 03-10 to=03-09
      a1 * 03-12 -12.00 GYM
    pull 03-11 to=03-10
      a1 * 03-12 -12.50 GYM
    =
      * 03-12 -12.50 GYM
    """


@history
def test_an_empty_list_concludes_nothing() -> None:
    """An empty list where rows are known is held; the same again soon after confirms nothing.

    pull 03-03
      a1 * 03-02 -12.00 GYM
    pull 03-04
    pull 03-04
    pull 03-04 at=09
    =
      * 03-02 -12.00 GYM
    verdicts applied held repeated held
    """


@history
def test_an_empty_list_is_believed_the_second_time() -> None:
    """Six hours on, a second empty list is believed.

    pull 03-03
      a1 * 03-02 -12.00 GYM
    pull 03-04
    pull 03-04 at=09
    pull 03-04 at=12
    =
      ~ 03-02 -12.00 GYM
    verdicts applied held held applied
    """


@history
def test_one_attempt_at_the_bank_confirms_nothing() -> None:
    """Two pulls of one attempt are one piece of evidence.

    pull 03-03 attempt=03-03
      a1 * 03-02 -12.00 GYM
    pull 03-04 attempt=03-04
    pull 03-05 attempt=03-04
    =
      * 03-02 -12.00 GYM
    verdicts applied held held
    """


@history
def test_an_empty_list_for_an_empty_account() -> None:
    """An empty list where nothing is known is nothing special.

    pull 03-03
    pull 03-04
    =
    verdicts applied applied
    """


HALF = """Fewer than half of ten posted rows: held, until the same ones are missing six hours later.

    pull 03-20
      a1 * 03-01 -1.00 SHOP A
      a2 * 03-02 -2.00 SHOP B
      a3 * 03-03 -3.00 SHOP C
      a4 * 03-04 -4.00 SHOP D
      a5 * 03-05 -5.00 SHOP E
      a6 * 03-06 -6.00 SHOP F
      a7 * 03-07 -7.00 SHOP G
      a8 * 03-08 -8.00 SHOP H
      a9 * 03-09 -9.00 SHOP I
      b1 * 03-10 -10.00 SHOP J
    pull 03-21
      a1 * 03-01 -1.00 SHOP A
      a2 * 03-02 -2.00 SHOP B
      a3 * 03-03 -3.00 SHOP C
      a4 * 03-04 -4.00 SHOP D
"""

ALL = """    =
      * 03-01 -1.00 SHOP A
      * 03-02 -2.00 SHOP B
      * 03-03 -3.00 SHOP C
      * 03-04 -4.00 SHOP D
      * 03-05 -5.00 SHOP E
      * 03-06 -6.00 SHOP F
      * 03-07 -7.00 SHOP G
      * 03-08 -8.00 SHOP H
      * 03-09 -9.00 SHOP I
      * 03-10 -10.00 SHOP J
"""


def _tell(*parts: str) -> None:
    def told() -> None:
        """Stand in for a test whose docstring is put together."""

    told.__doc__ = "".join(parts)
    history(told)()


def test_half_a_list_is_held() -> None:
    """A list with fewer than half of ten posted rows concludes nothing."""
    _tell(HALF, ALL, "    verdicts applied held\n")


def test_half_a_list_is_believed_when_confirmed() -> None:
    """The same rows missing again the next day are withdrawn."""
    again = HALF[HALF.index("    pull 03-21") :].replace("03-21", "03-22")
    _tell(HALF, again, *_shadowed(ALL, "EFGHIJ"), "    verdicts applied held applied\n")


def test_other_rows_missing_confirm_nothing() -> None:
    """A second list that lacks other rows is held as well."""
    other = "    pull 03-22\n      a8 * 03-08 -8.00 SHOP H\n      a9 * 03-09 -9.00 SHOP I\n"
    _tell(HALF, other, ALL, "    verdicts applied held held\n")


def test_a_full_list_after_a_half_one() -> None:
    """A whole list after a half one is applied, and what was held is forgotten."""
    whole = HALF[HALF.index("    pull 03-20") : HALF.index("    pull 03-21")].replace("03-20", "03-22", 1)
    half = HALF[HALF.index("    pull 03-21") :].replace("03-21", "03-23", 1)
    _tell(HALF, whole, half, ALL, "    verdicts applied held applied held\n")


def _shadowed(result: str, shops: str) -> list[str]:
    lines = result.splitlines(keepends=True)
    return [line.replace("* ", "~ ") if line.rstrip()[-1:] in shops and "SHOP" in line else line for line in lines]


@history
def test_half_of_a_short_list_is_believed() -> None:
    """With fewer than ten posted rows, half of them may be withdrawn at once.

    pull 03-03
      a1 * 03-01 -1.00 SHOP A
      a2 * 03-02 -2.00 SHOP B
      a3 * 03-03 -3.00 SHOP C
    pull 03-04
      a3 * 03-03 -3.00 SHOP C
    =
      ~ 03-01 -1.00 SHOP A
      ~ 03-02 -2.00 SHOP B
      * 03-03 -3.00 SHOP C
    verdicts applied applied
    """


@history
def test_failed_pulls_conclude_nothing() -> None:
    """An error, a missing page or a wrong count is never applied and never confirms.

    pull 03-03
      a1 * 03-02 -12.00 GYM
    pull 03-04 error
    pull 03-05 incomplete
      a2 * 03-04 -5.00 BAKERY
    pull 03-06 count=3
      a2 * 03-04 -5.00 BAKERY
    =
      * 03-02 -12.00 GYM
    verdicts applied failed failed failed
    """


@history
def test_an_older_pull_that_comes_late() -> None:
    """A pull older than the last applied one changes nothing.

    pull 03-03
      p1 ! 03-02 -12.00 GYM
    pull 03-05
      a1 * 03-03 -12.00 GYM
    pull 03-04
      p1 ! 03-02 -12.00 GYM
      p2 ! 03-04 -5.00 BAKERY
    pull 03-05
      a1 * 03-03 -12.00 GYM
    =
      * 03-03 -12.00 GYM
    verdicts applied applied stale repeated
    """


@history
def test_delta_adds_changes_and_removes() -> None:
    """A delta leaves alone what it does not name.

    pull 03-03
      a1 * 03-02 -12.00 GYM
      a2 * 03-02 -5.00 BAKERY
      p1 ! 03-03 -20.00 CORNER CAFE
      p2 ! 03-03 -6.00 KIOSK
    pull 03-04 delta removed=a2
      a1 * 03-02 -12.50 GYM
      a3 * 03-04 -9.00 PHARMACY
    =
      * 03-02 -12.50 GYM
      ~ 03-02 -5.00 BAKERY
      ! 03-03 -20.00 CORNER CAFE
      ! 03-03 -6.00 KIOSK
      * 03-04 -9.00 PHARMACY
    """


@history
def test_delta_posts_what_it_removes() -> None:
    """A posting in a delta is found among the rows that the delta removes.

    pull 03-03
      p1 ! 03-03 -20.00 LUIGI TRATTORIA
      p2 ! 03-03 -20.00 LUIGI TRATTORIA
    link L1 -20.00
    pull 03-04 delta removed=p1
      a1 * 03-04 -24.00 LUIGI TRATTORIA
    =
      * 03-04 -24.00 LUIGI TRATTORIA ^L1
      ! 03-03 -20.00 LUIGI TRATTORIA
    """


@history
def test_delta_does_not_claim_what_it_does_not_remove() -> None:
    """A pending row that a delta does not name is still pending, beside a row of equal amount.

    pull 03-03
      p1 ! 03-03 -20.00 CORNER CAFE
    link L1 -20.00
    pull 03-04 delta
      a1 * 03-03 -20.00 CORNER CAFE
    =
      ! 03-03 -20.00 CORNER CAFE ^L1
      * 03-03 -20.00 CORNER CAFE
    """


@history
def test_delta_posts_by_link_and_by_id() -> None:
    """In a delta a pending row posts under its id, or by an explicit link, without being removed.

    pull 03-03
      p1 ! 03-03 -20.00 CORNER CAFE
      p2 ! 03-03 -30.00 LUIGI TRATTORIA
    link L1 -20.00
    link L2 -30.00
    pull 03-04 delta
      p1 * 03-04 -20.00 CORNER CAFE
      a2 * 03-04 -36.00 TRATTORIA <p2
    =
      * 03-04 -20.00 CORNER CAFE ^L1
      * 03-04 -36.00 TRATTORIA ^L2
    """


@history
def test_delta_gives_a_first_id() -> None:
    """A row without an id that a delta lists with one is not doubled.

    pull 03-03
      - * 03-02 -12.00 GYM
    link L1 -12.00
    pull 03-04 delta
      a1 * 03-02 -12.00 GYM
    =
      * 03-02 -12.00 GYM ^L1
    """


@history
def test_delta_with_an_equal_purchase() -> None:
    """An equal purchase under another id is another row in a delta, also where the first one was deleted.

    pull 03-03
      a1 * 03-02 -2.90 METRO
      a2 * 03-02 -4.50 DAILY ROAST
    delete -4.50
    pull 03-04 delta
      b1 * 03-02 -2.90 METRO
      b2 * 03-02 -4.50 DAILY ROAST
    =
      * 03-02 -2.90 METRO
      * 03-02 -2.90 METRO
      * 03-02 -4.50 DAILY ROAST
    """


@history
def test_a_list_that_repeats_a_row_is_held() -> None:
    """An id listed twice with equal values is a page that shifted more likely than a second purchase.

    pull 03-03
      a1 * 03-02 -20.00 CORNER CAFE
      a2 * 03-02 -5.00 GYM
    pull 03-04
      a1 * 03-02 -20.00 CORNER CAFE
      a1 * 03-02 -20.00 CORNER CAFE
      a2 * 03-02 -5.00 GYM
    pull 03-05
      a1 * 03-02 -20.00 CORNER CAFE
      a2 * 03-02 -5.00 GYM
    =
      * 03-02 -20.00 CORNER CAFE
      * 03-02 -5.00 GYM
    verdicts applied held applied
    """


@history
def test_a_row_that_is_repeated_again_and_again_is_believed() -> None:
    """A bank that makes its ids of what it lists gives equal purchases one id; the second list confirms them.

    pull 03-03
      a1 * 03-02 -20.00 CORNER CAFE
    pull 03-04
      a1 * 03-02 -20.00 CORNER CAFE
      a1 * 03-02 -20.00 CORNER CAFE
    pull 03-05
      a1 * 03-02 -20.00 CORNER CAFE
      a1 * 03-02 -20.00 CORNER CAFE
    pull 03-06
      a1 * 03-02 -20.00 CORNER CAFE
      a1 * 03-02 -20.00 CORNER CAFE
    =
      * 03-02 -20.00 CORNER CAFE
      * 03-02 -20.00 CORNER CAFE
    verdicts applied held applied applied
    """
