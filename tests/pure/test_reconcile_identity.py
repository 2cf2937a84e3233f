"""Which row is which: ids that stay, change, repeat, wander, are missing or come later; equal content by count."""

from tests.pure.history import history


@history
def test_new_ids_every_night() -> None:
    """Rows whose content stays are the same rows, whatever ids the aggregator deals.

    pull 03-04
      a1 * 03-02 -12.00 GYM
      a2 * 03-03 -8.00 BAKERY
      a3 * 03-03 -8.00 BAKERY
    link L1 -12.00
    pull 03-05
      b1 * 03-02 -12.00 GYM
      b2 * 03-03 -8.00 BAKERY
      b3 * 03-03 -8.00 BAKERY
    =
      * 03-02 -12.00 GYM ^L1
      * 03-03 -8.00 BAKERY
      * 03-03 -8.00 BAKERY
    """


@history
def test_new_ids_and_the_list_again() -> None:
    """A row found by its content is found by its newest id when it is corrected later.

    pull 03-04
      a1 * 03-02 -12.00 GYM
    link L1 -12.00
    pull 03-05
      b1 * 03-02 -12.00 GYM
    pull 03-06
      b1 * 03-03 -12.50 GYM MEMBERSHIP
    =
      * 03-03 -12.50 GYM MEMBERSHIP ^L1
    """


@history
def test_positional_ids() -> None:
    """Ids that count positions in the list move no row, and a new row on top takes nobody's place.

    pull 03-04
      1 * 03-03 -8.00 BAKERY
      2 * 03-02 -12.00 GYM
    link L1 -8.00
    pull 03-05
      1 * 03-05 -8.00 BAKERY
      2 * 03-03 -8.00 BAKERY
      3 * 03-02 -12.00 GYM
    =
      * 03-05 -8.00 BAKERY
      * 03-03 -8.00 BAKERY ^L1
      * 03-02 -12.00 GYM
    """


@history
def test_positional_ids_and_a_moving_window() -> None:
    """A row that fell out of the window is not revived by a new one that took over its position.

    pull 03-04
      1 * 03-04 -8.00 BAKERY
      2 * 03-03 -12.00 GYM
      3 * 03-01 -8.00 BAKERY
    link L1 -12.00
    pull 03-05 from=03-03
      1 * 03-05 -8.00 BAKERY
      2 * 03-04 -8.00 BAKERY
      3 * 03-03 -12.00 GYM
    =
      * 03-05 -8.00 BAKERY
      * 03-04 -8.00 BAKERY
      * 03-03 -12.00 GYM ^L1
      * 03-01 -8.00 BAKERY
    """


@history
def test_one_id_for_several_rows() -> None:
    """An id that occurs more than once in a list says nothing.

    pull 03-04
      9998 * 03-03 -11.11 PAYEE ONE
      9998 * 03-04 -22.22 PAYEE TWO
    pull 03-05
      9998 * 03-03 -11.11 PAYEE ONE
      9998 * 03-04 -22.22 PAYEE TWO
      9998 * 03-05 -33.33 PAYEE THREE
    =
      * 03-03 -11.11 PAYEE ONE
      * 03-04 -22.22 PAYEE TWO
      * 03-05 -33.33 PAYEE THREE
    """


@history
def test_one_id_pending_and_posted() -> None:
    """A row listed pending and posted under one id is two rows while both are listed, then one.

    pull 03-03
      t1 ! 03-02 -20.00 CORNER CAFE
    link L1 -20.00
    pull 03-04
      t1 ! 03-02 -20.00 CORNER CAFE
      t1 * 03-03 -20.00 CORNER CAFE
    pull 03-05
      t1 * 03-03 -20.00 CORNER CAFE
    =
      * 03-03 -20.00 CORNER CAFE ^L1
    """


@history
def test_a_reused_id() -> None:
    """An id that now stands on a different movement makes a new row; the old one is withdrawn.

    pull 03-04
      7 * 03-02 -12.00 GYM
      8 * 03-02 -5.00 BAKERY
    pull 03-05
      7 * 03-05 -850.00 RENT
      8 * 03-02 -5.00 BAKERY
    =
      ~ 03-02 -12.00 GYM
      * 03-05 -850.00 RENT
      * 03-02 -5.00 BAKERY
    """


@history
def test_a_reused_id_while_the_old_row_is_still_listed() -> None:
    """An id alone does not take a row whose old content stands elsewhere in the list.

    pull 03-04
      7 * 03-02 -12.00 GYM DUES
      8 * 03-02 -5.00 BAKERY
    link L1 -12.00
    pull 03-05
      7 * 03-05 -14.00 GYM DUES
      9 * 03-02 -12.00 GYM DUES
      8 * 03-02 -5.00 BAKERY
    =
      * 03-02 -12.00 GYM DUES ^L1
      * 03-05 -14.00 GYM DUES
      * 03-02 -5.00 BAKERY
    """


@history
def test_one_reused_id_does_not_spoil_the_others() -> None:
    """Ids stay trusted in a list where most of them keep their word.

    pull 03-04
      1 * 03-02 -12.00 GYM
      2 * 03-02 -5.00 BAKERY
      3 * 03-03 -6.00 KIOSK
      4 ! 03-03 -20.00 LUIGI TRATTORIA
    link L1 -20.00
    pull 03-05
      1 * 03-02 -12.00 GYM
      2 * 03-02 -5.00 BAKERY
      3 * 03-03 -6.00 KIOSK
      4 * 03-04 -24.00 LUIGI
    =
      * 03-02 -12.00 GYM
      * 03-02 -5.00 BAKERY
      * 03-03 -6.00 KIOSK
      * 03-04 -24.00 LUIGI ^L1
    """


@history
def test_ids_filled_in_later() -> None:
    """A row without an id that is given one is the same row.

    pull 03-03
      - * 03-02 -12.50 UBER TRIP
      - * 03-02 -12.50 UBER TRIP
    link L1 -12.50
    pull 03-04
      a1 * 03-02 -12.50 UBER TRIP
      a2 * 03-02 -12.50 UBER TRIP
    =
      * 03-02 -12.50 UBER TRIP ^L1
      * 03-02 -12.50 UBER TRIP
    """


@history
def test_ids_that_go_missing() -> None:
    """A row whose id is blank in a later list is found by its content.

    pull 03-03
      a1 * 03-02 -12.50 UBER TRIP
    link L1 -12.50
    pull 03-04
      - * 03-02 -12.50 UBER TRIP
    =
      * 03-02 -12.50 UBER TRIP ^L1
    """


@history
def test_equal_purchases_are_counted() -> None:
    """One more of the same is one more row.

    pull 03-03
      - ! 03-02 -2.90 METRO
      - ! 03-02 -2.90 METRO
    pull 03-04
      - ! 03-02 -2.90 METRO
      - ! 03-02 -2.90 METRO
      - ! 03-02 -2.90 METRO
    =
      ! 03-02 -2.90 METRO
      ! 03-02 -2.90 METRO
      ! 03-02 -2.90 METRO
    """


@history
def test_one_fewer_of_the_same() -> None:
    """One fewer of the same is one row less; the row with the link stays, and a person is asked.

    pull 03-03
      - * 03-02 -2.90 METRO
      - * 03-02 -2.90 METRO
    link L1 -2.90
    pull 03-04
      - * 03-02 -2.90 METRO
    =
      * 03-02 -2.90 METRO ^L1
      ~ 03-02 -2.90 METRO
    ? L1
    """


@history
def test_the_same_coffee_every_day() -> None:
    """The same purchase on another day is another row.

    pull 03-02
      c0 * 03-02 -4.50 DAILY ROAST
    pull 03-03
      c0 * 03-02 -4.50 DAILY ROAST
      c1 * 03-03 -4.50 DAILY ROAST
    pull 03-04
      c0 * 03-02 -4.50 DAILY ROAST
      c1 * 03-03 -4.50 DAILY ROAST
      c2 * 03-04 -4.50 DAILY ROAST
    =
      * 03-02 -4.50 DAILY ROAST
      * 03-03 -4.50 DAILY ROAST
      * 03-04 -4.50 DAILY ROAST
    """


@history
def test_withdrawn_and_reposted_in_one_pull() -> None:
    """A posted row reposted under a new id and date in the same pull is the same row.

    pull 03-03
      a1 * 03-02 -77.10 UTILITY CO
      x1 * 03-02 -5.00 BAKERY
    link L1 -77.10
    pull 03-06
      b7 * 03-05 -77.10 UTILITY CO
      x1 * 03-02 -5.00 BAKERY
    =
      * 03-05 -77.10 UTILITY CO ^L1
      * 03-02 -5.00 BAKERY
    """


@history
def test_reposted_six_days_on_is_another_row() -> None:
    """Posted rows more than five days apart are two.

    pull 03-03
      a1 * 03-02 -77.10 UTILITY CO
      x1 * 03-02 -5.00 BAKERY
    pull 03-09
      b7 * 03-08 -77.10 UTILITY CO
      x1 * 03-02 -5.00 BAKERY
    =
      ~ 03-02 -77.10 UTILITY CO
      * 03-08 -77.10 UTILITY CO
      * 03-02 -5.00 BAKERY
    """


@history
def test_withdrawn_and_reposted_days_later() -> None:
    """A shadow row that is listed again is active again, under whatever id.

    pull 03-03
      a1 * 03-02 -77.10 UTILITY CO
      x1 * 03-02 -5.00 BAKERY
    link L1 -77.10
    pull 03-04
      x1 * 03-02 -5.00 BAKERY
    pull 03-06
      b7 * 03-02 -77.10 UTILITY CO
      x1 * 03-02 -5.00 BAKERY
    =
      * 03-02 -77.10 UTILITY CO ^L1
      * 03-02 -5.00 BAKERY
    """


@history
def test_a_posted_row_listed_as_pending() -> None:
    """Nothing posted becomes pending again: the pending row is a new one until it is posted again.

    pull 03-03
      a1 * 03-02 -77.10 UTILITY CO
      x1 * 03-02 -5.00 BAKERY
    pull 03-04
      a1 ! 03-02 -77.10 UTILITY CO
      x1 * 03-02 -5.00 BAKERY
    pull 03-05
      a1 * 03-02 -77.10 UTILITY CO
      x1 * 03-02 -5.00 BAKERY
    =
      * 03-02 -77.10 UTILITY CO
      * 03-02 -5.00 BAKERY
    """


@history
def test_shadow_reported_by_the_aggregator() -> None:
    """A posted row that the aggregator calls shadow is taken as such, and back when it says active.

    pull 03-03
      a1 * 03-02 -77.10 UTILITY CO
      a2 * 03-02 -5.00 BAKERY
    pull 03-04
      a1 ~ 03-02 -77.10 UTILITY CO
      a2 ~ 03-02 -5.00 BAKERY
    pull 03-05
      a1 ~ 03-02 -77.10 UTILITY CO
      a2 * 03-02 -5.00 BAKERY
    =
      ~ 03-02 -77.10 UTILITY CO
      * 03-02 -5.00 BAKERY
    """
