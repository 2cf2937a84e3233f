"""A person's acts stand: entries, locks, deletions and merges survive what the feed does."""

from tests.pure.history import history, play, read_history, standing


@history
def test_deleted_rows_stay_deleted() -> None:
    """A deleted row is not listed again, under its id, a new id, or another date.

    pull 03-03
      a1 * 03-02 -40.00 PAID FOR FRIEND
      a2 * 03-02 -9.00 BAKERY
    delete -40.00
    pull 03-04
      a1 * 03-02 -40.00 PAID FOR FRIEND
      a2 * 03-02 -9.00 BAKERY
    pull 03-05
      b1 * 03-02 -40.00 PAID FOR FRIEND
      a2 * 03-02 -9.00 BAKERY
    pull 03-06
      c1 * 03-04 -40.00 PAID FOR FRIEND
      a2 * 03-02 -9.00 BAKERY
    =
      * 03-02 -9.00 BAKERY
    """


@history
def test_a_deleted_pending_row_posts_deleted() -> None:
    """A pending row that a person deleted does not come back as its posting.

    pull 03-03
      p1 ! 03-02 -40.00 PAID FOR FRIEND
      a2 * 03-02 -9.00 BAKERY
    delete -40.00
    pull 03-05
      a1 * 03-04 -40.00 PAID FOR FRIEND
      a2 * 03-02 -9.00 BAKERY
    =
      * 03-02 -9.00 BAKERY
    """


@history
def test_a_deleted_row_that_left_the_bank_swallows_nothing() -> None:
    """Once the bank no longer lists a deleted row, an equal purchase is a row of its own.

    pull 03-03
      a1 * 03-02 -4.50 DAILY ROAST
      a2 * 03-02 -9.00 BAKERY
    delete -4.50
    pull 03-04
      a2 * 03-02 -9.00 BAKERY
    pull 03-05
      a2 * 03-02 -9.00 BAKERY
      a3 * 03-05 -4.50 DAILY ROAST
    =
      * 03-02 -9.00 BAKERY
      * 03-05 -4.50 DAILY ROAST
    """


@history
def test_a_deleted_copy_of_two() -> None:
    """Of two equal rows one of which was deleted, one stays in view whatever their ids.

    pull 03-03
      a1 * 03-02 -4.50 DAILY ROAST
      a2 * 03-02 -4.50 DAILY ROAST
    delete -4.50
    pull 03-04
      b1 * 03-02 -4.50 DAILY ROAST
      b2 * 03-02 -4.50 DAILY ROAST
    =
      * 03-02 -4.50 DAILY ROAST
    """


@history
def test_a_deleted_posting_beside_its_pending_row() -> None:
    """A person who deleted the posted copy keeps the row, once the pending copy has posted.

    pull 03-03
      p1 ! 03-02 -14.17 SANDWICH
      a1 * 03-03 -14.17 SANDWICH SHOP
    delete -14.17 SANDWICH SHOP
    pull 03-04
      a1 * 03-03 -14.17 SANDWICH SHOP
    pull 03-05
      a1 * 03-03 -14.17 SANDWICH SHOP
    =
      * 03-03 -14.17 SANDWICH SHOP
    """


@history
def test_reconciled_rows_keep_their_values() -> None:
    """A reconciled row takes ids and no values, and is found by either afterwards.

    pull 03-03
      a1 * 03-02 -33.00 DENTIST
    link L1 -33.00
    reconcile -33.00
    pull 03-04
      a1 * 03-06 -33.00 DENTIST CORRECTED
    pull 03-05
      b1 * 03-06 -33.00 DENTIST CORRECTED
    pull 03-06
      b1 * 03-06 -34.00 DENTIST CORRECTED
    =
      * 03-02 -33.00 DENTIST ^L1
    ? L1
    """


@history
def test_a_reconciled_pending_row_posts() -> None:
    """A lock holds the values, not the state.

    pull 03-03
      p1 ! 03-02 -20.00 LUIGI TRATTORIA
    reconcile -20.00
    pull 03-04
      a1 * 03-03 -24.00 LUIGI TRATTORIA
    =
      * 03-02 -20.00 LUIGI TRATTORIA
    """


@history
def test_a_booked_row_that_is_withdrawn() -> None:
    """A row with an entry leaves view only with a doubt.

    pull 03-03
      a1 * 03-02 -33.00 DENTIST
      a2 * 03-02 -9.00 BAKERY
    link L1 -33.00
    pull 03-04
      a2 * 03-02 -9.00 BAKERY
    =
      ~ 03-02 -33.00 DENTIST ^L1
      * 03-02 -9.00 BAKERY
    ? L1
    """


@history
def test_merged_rows_stay_merged() -> None:
    """Two rows that a person merged are one, though the bank lists both, under new ids even.

    pull 03-03
      a1 * 03-02 -33.00 DENTIST
      a2 * 03-03 -33.00 DENTIST BILL
    link L1 -33.00 DENTIST BILL
    merge a1 a2
    pull 03-04
      a1 * 03-02 -33.00 DENTIST
      a2 * 03-03 -33.00 DENTIST BILL
    pull 03-05
      b1 * 03-02 -33.00 DENTIST
      b2 * 03-03 -33.00 DENTIST BILL
    =
      * 03-02 -33.00 DENTIST ^L1
    """


@history
def test_the_merged_row_speaks_for_its_survivor() -> None:
    """Where the bank keeps only the row that was merged away, the row that stands takes its values.

    pull 03-03
      p1 ! 03-02 -33.00 DENTIST
      a2 * 03-03 -33.00 DENTIST BILL
    link L1 -33.00 DENTIST
    merge p1 a2
    pull 03-04
      a2 * 03-03 -33.00 DENTIST BILL
    pull 03-05
      a2 * 03-03 -33.00 DENTIST BILL
    =
      * 03-03 -33.00 DENTIST BILL ^L1
    """


@history
def test_a_merged_row_that_left_the_bank_swallows_nothing() -> None:
    """A later equal purchase is a row of its own.

    pull 03-03
      a1 * 03-02 -4.50 DAILY ROAST
      a2 * 03-03 -4.50 DAILY ROAST
    merge a1 a2
    pull 03-04
      a1 * 03-02 -4.50 DAILY ROAST
    pull 03-05
      a1 * 03-02 -4.50 DAILY ROAST
      a3 * 03-05 -4.50 DAILY ROAST
    =
      * 03-02 -4.50 DAILY ROAST
      * 03-05 -4.50 DAILY ROAST
    """


@history
def test_a_late_join_swallows_no_later_purchase() -> None:
    """The row that left in a late join holds nothing back.

    pull 03-03
      p1 ! 03-02 -4.50 DAILY ROAST
      a1 * 03-03 -4.50 DAILY ROAST
    pull 03-04
      a1 * 03-03 -4.50 DAILY ROAST
    pull 03-05
      a1 * 03-03 -4.50 DAILY ROAST
      a2 * 03-03 -4.50 DAILY ROAST
    =
      * 03-03 -4.50 DAILY ROAST
      * 03-03 -4.50 DAILY ROAST
    """


@history
def test_a_delta_removes_the_row_that_another_was_merged_into() -> None:
    """What a delta does not speak of is still at the bank, and takes the place of the row that left.

    pull 03-03
      a1 * 03-01 -20.00 CAFE NOIR
      a2 * 03-01 -20.00 CAFE NOIR
    link L1 -20.00
    merge a1 a2
    pull 03-05 delta removed=a1
    =
      * 03-01 -20.00 CAFE NOIR ^L1
    """


@history
def test_a_delta_removes_both_merged_rows() -> None:
    """A merged row that the bank has no longer keeps nothing in view.

    pull 03-03
      a1 * 03-01 -20.00 CAFE NOIR
      a2 * 03-01 -20.00 CAFE NOIR
    link L1 -20.00
    merge a1 a2
    pull 03-05 delta removed=a1,a2
    =
      ~ 03-01 -20.00 CAFE NOIR ^L1
    ? L1
    """


@history
def test_the_bank_corrects_a_reconciled_row() -> None:
    """The lock holds, and the person is told.

    pull 03-03
      a1 * 03-02 -20.00 CORNER CAFE
      a2 * 03-02 -5.00 GYM
    link L1 -20.00
    link L2 -5.00
    reconcile -20.00
    reconcile -5.00
    pull 03-05
      a1 * 03-02 -25.00 CORNER CAFE
      a2 * 03-02 -5.00 GYM AND POOL
    =
      * 03-02 -20.00 CORNER CAFE ^L1
      * 03-02 -5.00 GYM ^L2
    ? L1
    """


def test_a_deleted_posting_that_its_pending_row_joins_is_asked_about() -> None:
    """Whether a deleted row was a second copy, or the purchase itself, only the person knows."""
    steps = read_history(
        """

        pull 03-03
          p1 ! 03-02 -14.17 SANDWICH
          a1 * 03-03 -14.17 SANDWICH SHOP
        delete -14.17 SANDWICH SHOP
        pull 03-04
          a1 * 03-03 -14.17 SANDWICH SHOP
        """
    ).steps
    replay = play(steps)
    [asked] = replay.book.questions.about_rows
    deleted = replay.book.row(asked.row_id)
    assert (deleted.merged_into,) == tuple(asked.candidate_ids)
    assert deleted.deleted_at is not None
    assert ["-14.17"] == [row[2] for row in standing(replay)]
