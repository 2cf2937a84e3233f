"""Pending rows and what becomes of them: posting, amounts that change, late and double listings, leaving."""

from tests.pure.history import history


@history
def test_posting_under_the_same_id() -> None:
    """A pending row that posts under its id is the same row, whatever its date.

    pull 03-03
      t1 ! 03-02 -20.00 CORNER CAFE
    link L1 -20.00
    pull 03-05
      t1 * 03-04 -20.00 CORNER CAFE
    =
      * 03-04 -20.00 CORNER CAFE ^L1
    """


@history
def test_posting_under_a_new_id() -> None:
    """A pending row that leaves as a row of equal amount arrives is that row, with the link.

    pull 03-03
      p1 ! 03-02 -20.00 CORNER CAFE
    link L1 -20.00
    pull 03-05
      a9 * 03-04 -20.00 CORNER CAFE
    =
      * 03-04 -20.00 CORNER CAFE ^L1
    """


@history
def test_posting_with_an_unrelated_text() -> None:
    """An equal amount near in date is enough where nothing else fits: banks rename on posting.

    pull 03-03
      p1 ! 03-02 -31.17 PENDING AUTHORIZATION
    link L1 -31.17
    pull 03-05
      a9 * 03-04 -31.17 STARLIGHT BOOKS
    =
      * 03-04 -31.17 STARLIGHT BOOKS ^L1
    """


@history
def test_text_outranks_days() -> None:
    """Of two postings of equal amount, the one with the pending row's text is it, though it is days later.

    pull 03-03
      p1 ! 03-02 -20.00 CORNER CAFE
    link L1 -20.00
    pull 03-07
      a1 * 03-02 -20.00 PHARMACY
      a2 * 03-06 -20.00 CORNER CAFE 0042
    =
      * 03-02 -20.00 PHARMACY
      * 03-06 -20.00 CORNER CAFE 0042 ^L1
    """


@history
def test_a_differing_number_counts_more_than_days() -> None:
    """Two like texts with differing numbers are told apart by the number, not by the date.

    pull 03-03
      p1 ! 03-02 -20.00 UBER TRIP 1111
      p2 ! 03-02 -20.00 UBER TRIP 2222
    link L1 -20.00 UBER TRIP 1111
    pull 03-12
      a1 * 03-11 -20.00 UBER *TRIP 1111
      a2 * 03-03 -20.00 UBER *TRIP 2222
    =
      * 03-03 -20.00 UBER *TRIP 2222
      * 03-11 -20.00 UBER *TRIP 1111 ^L1
    """


@history
def test_other_check_numbers_never_match() -> None:
    """A posting with another check number is another check.

    pull 03-03
      p1 ! 03-02 -20.00 CHECK #101
    pull 03-05
      a1 * 03-03 -20.00 CHECK #102
    =
      * 03-03 -20.00 CHECK
    """


@history
def test_posting_eleven_days_later() -> None:
    """A posting may be dated up to 14 days after its pending row.

    pull 03-03
      p1 ! 03-02 -88.50 CAR RENTAL
    link L1 -88.50
    pull 03-14
      a1 * 03-13 -88.50 CAR RENTAL
    =
      * 03-13 -88.50 CAR RENTAL ^L1
    """


@history
def test_posting_fifteen_days_later_is_another_purchase() -> None:
    """Beyond 14 days an equal amount is another purchase; the link's row left view, so a person is asked.

    pull 03-03
      p1 ! 03-02 -88.50 CAR RENTAL
    link L1 -88.50
    pull 03-18
      a1 * 03-17 -88.50 CAR RENTAL
    =
      * 03-17 -88.50 CAR RENTAL
    ? L1
    """


@history
def test_a_pending_row_absent_for_days_and_posted_late() -> None:
    """A pending row that vanished before it posted comes back with its link.

    pull 03-03
      p1 ! 03-02 -31.00 BOOK SHOP
    link L1 -31.00
    pull 03-05
      x1 * 03-04 -7.00 BAKERY
    pull 03-08
      x1 * 03-04 -7.00 BAKERY
      a1 * 03-07 -31.00 BOOK SHOP
    =
      * 03-04 -7.00 BAKERY
      * 03-07 -31.00 BOOK SHOP ^L1
    """


@history
def test_a_vanished_pending_row_returns() -> None:
    """A pending row that is listed again is the same row.

    pull 03-03
      p1 ! 03-02 -31.00 BOOK SHOP
      x1 * 03-02 -7.00 BAKERY
    link L1 -31.00
    pull 03-04
      x1 * 03-02 -7.00 BAKERY
    pull 03-05
      p1 ! 03-02 -31.00 BOOK SHOP
      x1 * 03-02 -7.00 BAKERY
    =
      ! 03-02 -31.00 BOOK SHOP ^L1
      * 03-02 -7.00 BAKERY
    """


@history
def test_a_removed_pending_row_is_forgotten_after_thirty_days() -> None:
    """After 30 days the same content is a new row.

    pull 02-02
      p1 ! 02-01 -31.00 BOOK SHOP
      x1 * 02-01 -7.00 BAKERY
    link L1 -31.00
    pull 02-03
      x1 * 02-01 -7.00 BAKERY
    pull 03-10
      p9 ! 02-01 -31.00 BOOK SHOP
      x1 * 02-01 -7.00 BAKERY
    =
      ! 02-01 -31.00 BOOK SHOP
      * 02-01 -7.00 BAKERY
    ? L1
    """


@history
def test_pending_and_posting_listed_together_are_both_shown() -> None:
    """While the bank lists a pending row beside its posting, both are shown.

    pull 03-03
      p1 ! 03-02 -14.17 SANDWICH SHOP
    pull 03-04
      p1 ! 03-02 -14.17 SANDWICH SHOP
      a1 * 03-03 -14.17 SANDWICH SHOP
    =
      ! 03-02 -14.17 SANDWICH SHOP
      * 03-03 -14.17 SANDWICH SHOP
    """


@history
def test_late_join() -> None:
    """Once the pending row is no longer listed, it is the posting that stood beside it.

    pull 03-03
      p1 ! 03-02 -14.17 SANDWICH SHOP
      a1 * 03-03 -14.17 SANDWICH SHOP
    link L1 -14.17 SANDWICH SHOP
    pull 03-04
      a1 * 03-03 -14.17 SANDWICH SHOP
    =
      * 03-03 -14.17 SANDWICH SHOP ^L1
    """


@history
def test_late_join_with_a_tip() -> None:
    """A late join may be of an amount that a posting may have changed to.

    pull 03-03
      p1 ! 03-02 -20.00 LUIGI TRATTORIA
    link L1 -20.00
    pull 03-04
      p1 ! 03-02 -20.00 LUIGI TRATTORIA
      a1 * 03-03 -24.00 LUIGI TRATTORIA
    pull 03-05
      a1 * 03-03 -24.00 LUIGI TRATTORIA
    =
      * 03-03 -24.00 LUIGI TRATTORIA ^L1
    """


@history
def test_no_late_join_with_an_earlier_row() -> None:
    """A row that was there before the pending one is another purchase.

    pull 03-02
      a0 * 03-02 -4.50 DAILY ROAST
    pull 03-03
      a0 * 03-02 -4.50 DAILY ROAST
      p1 ! 03-03 -4.50 DAILY ROAST 12
    link L1 -4.50 DAILY ROAST 12
    pull 03-05
      a0 * 03-02 -4.50 DAILY ROAST
    =
      * 03-02 -4.50 DAILY ROAST
    ? L1
    """


@history
def test_no_second_join() -> None:
    """A row that a pending one has joined is nobody else's posting.

    pull 03-03
      p1 ! 03-02 -4.50 DAILY ROAST
      p2 ! 03-02 -4.50 DAILY ROAST
      a1 * 03-02 -4.50 DAILY ROAST
    pull 03-04
      p2 ! 03-02 -4.50 DAILY ROAST
      a1 * 03-02 -4.50 DAILY ROAST
    link L1 -4.50
    pull 03-05
      a1 * 03-02 -4.50 DAILY ROAST
    =
      * 03-02 -4.50 DAILY ROAST ^L1
    """


@history
def test_a_booked_posting_stays_when_its_pending_row_leaves() -> None:
    """Where both rows bear entries, none is moved: the pending row leaves and a person is asked.

    pull 03-03
      p1 ! 03-02 -14.17 SANDWICH
      a1 * 03-03 -14.17 SANDWICH SHOP
    link L1 -14.17 SANDWICH
    link L2 -14.17 SANDWICH SHOP
    pull 03-04
      a1 * 03-03 -14.17 SANDWICH SHOP
    =
      * 03-03 -14.17 SANDWICH SHOP ^L2
    ? L1
    """


@history
def test_explicit_link_outranks_guessing() -> None:
    """The feed's own link decides, against text and date, and for any amount.

    pull 03-03
      p1 ! 03-02 -20.00 CORNER CAFE
      p2 ! 03-02 -20.00 PHARMACY
    link L1 -20.00 PHARMACY
    pull 03-05
      a1 * 03-02 -20.00 CORNER CAFE <p2
      a2 * 03-04 -77.00 PHARMACY <p1
    =
      * 03-02 -20.00 CORNER CAFE ^L1
      * 03-04 -77.00 PHARMACY
    """


@history
def test_a_linked_pending_row_that_is_still_listed_stays() -> None:
    """A posting that names its pending row while that is listed joins it only afterwards.

    pull 03-03
      p1 ! 03-02 -20.00 CORNER CAFE
    link L1 -20.00
    pull 03-04
      p1 ! 03-02 -20.00 CORNER CAFE
      a1 * 03-03 -23.00 CAFE NO 7 <p1
    pull 03-05
      a1 * 03-03 -23.00 CAFE NO 7 <p1
    =
      * 03-03 -23.00 CAFE NO 7 ^L1
    """


@history
def test_fuel() -> None:
    """A token check posts as any amount.

    pull 03-03
      p1 ! 03-02 -1.00 SHELL OIL 5744
    link L1 -1.00
    pull 03-05
      a1 * 03-03 -145.67 SHELL OIL 57442
    =
      * 03-03 -145.67 SHELL OIL 57442 ^L1
    """


@history
def test_a_hotel_hold_posts_lower() -> None:
    """A round hold of 50.00 or more posts lower, though the texts have but a word in common.

    pull 03-03
      p1 ! 03-02 -400.00 HILTON HOTELS
    link L1 -400.00
    pull 03-08
      a1 * 03-07 -283.11 HILTON ADV DEP 4451
    =
      * 03-07 -283.11 HILTON ADV DEP 4451 ^L1
    """


@history
def test_currency() -> None:
    """A rate moves the amount by a few percent.

    pull 03-03
      p1 ! 03-02 -54.10 LIBRAIRIE PARIS
    link L1 -54.10
    pull 03-05
      a1 * 03-04 -55.02 LIBRAIRIE DU MARAIS
    =
      * 03-04 -55.02 LIBRAIRIE DU MARAIS ^L1
    """


@history
def test_too_different_an_amount_is_another_purchase() -> None:
    """More than half above the pending amount is no tip; the link stays on the row that left, in doubt.

    pull 03-03
      p1 ! 03-02 -20.00 LUIGI TRATTORIA
    link L1 -20.00
    pull 03-05
      a1 * 03-04 -31.00 LUIGI TRATTORIA
    =
      * 03-04 -31.00 LUIGI TRATTORIA
    ? L1
    """


@history
def test_a_refund_is_not_a_posting() -> None:
    """An amount of the other sign never matches.

    pull 03-03
      p1 ! 03-02 -20.00 GROCER
    pull 03-05
      a1 * 03-04 20.00 GROCER
    =
      * 03-04 20.00 GROCER
    """


@history
def test_several_pending_rows_post_as_their_total() -> None:
    """Three taps post as one fare: they are gone and the fare stands.

    pull 03-03
      p0 ! 03-02 -2.90 METRO TAP
      p1 ! 03-02 -2.90 METRO TAP
      p2 ! 03-02 -1.70 METRO TAP
    link L1 -1.70
    pull 03-04
      a1 * 03-02 -7.50 METRO DAILY
    =
      * 03-02 -7.50 METRO DAILY
    ? L1
    """


@history
def test_one_pending_row_posts_in_parts() -> None:
    """An order that ships in two parcels posts twice; where its link belongs is for a person to say.

    pull 03-03
      p1 ! 03-02 -99.00 ONLINE SHOP
    link L1 -99.00
    pull 03-06
      a1 * 03-04 -60.00 ONLINE SHOP
      a2 * 03-05 -39.00 ONLINE SHOP
    =
      * 03-04 -60.00 ONLINE SHOP
      * 03-05 -39.00 ONLINE SHOP
    ? L1
    """


@history
def test_an_exact_sum_outranks_a_changed_amount() -> None:
    """Two parts that sum to the pending amount are it, not one of them with a changed amount.

    pull 03-03
      p1 ! 03-02 -40.00 ONLINE SHOP
    pull 03-06
      a1 * 03-03 -30.00 ONLINE SHOP
      a2 * 03-05 -10.00 ONLINE SHOP
    pull 03-07
      p1 ! 03-02 -40.00 ONLINE SHOP
      a1 * 03-03 -30.00 ONLINE SHOP
      a2 * 03-05 -10.00 ONLINE SHOP
    =
      ! 03-02 -40.00 ONLINE SHOP
      * 03-03 -30.00 ONLINE SHOP
      * 03-05 -10.00 ONLINE SHOP
    """


@history
def test_pending_never_becomes_shadow() -> None:
    """A pending row that leaves is removed, also where the aggregator calls it shadow.

    pull 03-03
      p1 ! 03-02 -99.00 ONLINE SHOP
      p2 ! 03-02 -15.00 GROCER
      a1 * 03-02 -7.00 BAKERY
    pull 03-04
      p1 ~ 03-02 -99.00 ONLINE SHOP
      a1 * 03-02 -7.00 BAKERY
    =
      * 03-02 -7.00 BAKERY
    """


@history
def test_two_pending_rows_of_which_one_posts() -> None:
    """Of two identical pending rows the one still listed by its id stays pending.

    pull 03-03
      p1 ! 03-02 -20.00 ATM WITHDRAWAL
      p2 ! 03-02 -20.00 ATM WITHDRAWAL
    link L1 -20.00
    pull 03-04
      p2 ! 03-02 -20.00 ATM WITHDRAWAL
      a1 * 03-03 -20.00 ATM WITHDRAWAL
    =
      * 03-03 -20.00 ATM WITHDRAWAL ^L1
      ! 03-02 -20.00 ATM WITHDRAWAL
    """


@history
def test_a_tie_is_settled_and_asked() -> None:
    """Without ids nobody knows which of two identical rows posted: the link stays and a person is asked.

    pull 03-03
      - ! 03-02 -20.00 ATM WITHDRAWAL
      - ! 03-02 -20.00 ATM WITHDRAWAL
    link L1 -20.00
    pull 03-04
      - ! 03-02 -20.00 ATM WITHDRAWAL
      a1 * 03-03 -20.00 ATM WITHDRAWAL
    =
      ! 03-02 -20.00 ATM WITHDRAWAL ^L1
      * 03-03 -20.00 ATM WITHDRAWAL
    ? L1
    """


@history
def test_two_equally_near_postings_are_a_tie() -> None:
    """Two postings of equal amount and text, a day apart, leave the link in doubt.

    pull 03-03
      p1 ! 03-02 -20.00 CORNER CAFE
    link L1 -20.00
    pull 03-06
      a1 * 03-04 -20.00 CORNER CAFE
      a2 * 03-05 -20.00 CORNER CAFE
    =
      * 03-04 -20.00 CORNER CAFE ^L1
      * 03-05 -20.00 CORNER CAFE
    ? L1
    """


@history
def test_identical_postings_are_no_tie() -> None:
    """Rows equal in amount, date, text and state are paired by arrival, without a doubt.

    pull 03-03
      p1 ! 03-02 -20.00 CORNER CAFE
      p2 ! 03-02 -20.00 CORNER CAFE
    link L1 -20.00
    pull 03-06
      a1 * 03-04 -20.00 CORNER CAFE
      a2 * 03-04 -20.00 CORNER CAFE
    =
      * 03-04 -20.00 CORNER CAFE ^L1
      * 03-04 -20.00 CORNER CAFE
    """


@history
def test_a_booked_row_that_returns_with_another_amount_is_asked_about() -> None:
    """A pending row that went is revived by a posting of another amount, which may be the next visit: a doubt asks.

    pull 03-03
      p1 ! 03-02 -148.62 FOOTHILLS CLINIC
    link L1 -148.62
    pull 03-05
      a9 * 03-04 -9.00 BAKERY
    pull 03-06
      a9 * 03-04 -9.00 BAKERY
      a1 * 03-05 -114.91 FOOTHILLS CLINIC
    =
      * 03-04 -9.00 BAKERY
      * 03-05 -114.91 FOOTHILLS CLINIC ^L1
    ? L1
    """


@history
def test_the_same_id_in_a_delta_is_the_posting() -> None:
    """A delta lists a row under its own id: text and amount may both have changed.

    pull 03-03 delta
      p1 ! 03-02 -73.61 GOLDEN CARP
    link L1 -73.61
    pull 03-05 delta
      p1 * 03-02 -89.07 SQ *GLDNCRP 9493
    =
      * 03-02 -89.07 SQ *GLDNCRP 9493 ^L1
    """
