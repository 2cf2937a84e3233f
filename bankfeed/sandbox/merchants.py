"""Where the pretend customers spend money: invented shops with plausible amounts. Pure: a table."""

from dataclasses import dataclass
from enum import StrEnum


class Twist(StrEnum):
    """Why an authorised amount differs from the posted one."""

    NONE = "none"
    TIP = "tip"
    FUEL = "fuel"
    HOTEL = "hotel"
    CURRENCY = "currency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Merchant:
    """A shop: `low` and `high` bound a purchase there in whole dollars."""

    name: str
    category: str
    low: int
    high: int
    twist: Twist = Twist.NONE
    place: str = "BOISE ID"


def _shops(category: str, *shops: tuple[str, int, int], twist: Twist = Twist.NONE) -> tuple[Merchant, ...]:
    return tuple(Merchant(name=n, category=category, low=low, high=high, twist=twist) for n, low, high in shops)


MERCHANTS = (
    *_shops("Groceries", ("Juniper Market", 12, 140), ("Sawtooth Grocers", 8, 120), ("Penny Basket", 5, 80)),
    *_shops("Groceries", ("Harvest Row", 15, 160), ("Greenleaf Co-op", 6, 70), ("Night Owl Mart", 3, 25)),
    *_shops("Coffee Shops", ("Corner Cafe", 3, 14), ("Third Crow Coffee", 4, 16), ("Steam and Bean", 3, 12)),
    *_shops("Fast Food", ("Burrito Ditch", 8, 24), ("Slice Depot", 7, 32), ("Noodle Kiosk", 9, 26)),
    *_shops("Pharmacy", ("Bluebell Pharmacy", 5, 60), ("Quarry Drug", 4, 45)),
    *_shops("Shopping", ("Fernhill Outfitters", 20, 180), ("Five Lanterns", 6, 60), ("Parcel Post Shop", 8, 45)),
    *_shops("Clothing", ("Thread and Thimble", 18, 150), ("Northwind Apparel", 25, 190), ("Sock Union", 9, 40)),
    *_shops("Home Improvement", ("City Hardware", 6, 140), ("Plank and Nail", 15, 220), ("Paint Attic", 12, 95)),
    *_shops("Electronics & Software", ("Copper Circuit", 19, 350), ("Pixel Loft", 5, 60)),
    *_shops("Books", ("Margin Notes Books", 9, 55), ("Folded Page", 7, 40)),
    *_shops("Movies & DVDs", ("Lantern Cinema", 11, 48), ("Reelhouse Stream", 8, 17)),
    *_shops(
        "Music",
        ("Tuneful Monthly", 6, 15),
    ),
    *_shops("Sporting Goods", ("Ridge Line Sports", 14, 160), ("Spoke and Chain", 10, 130)),
    *_shops(
        "Gym",
        ("Iron Finch Gym", 25, 60),
    ),
    *_shops(
        "Hair",
        ("Bob and Weave Salon", 22, 95),
    ),
    *_shops(
        "Pet Food & Supplies",
        ("Wagging Pantry", 11, 90),
    ),
    *_shops("Utilities", ("Snake River Power", 45, 190), ("Valley Water", 25, 80)),
    *_shops(
        "Mobile Phone",
        ("Beacon Wireless", 35, 110),
    ),
    *_shops(
        "Internet",
        ("Hilltop Fiber", 49, 90),
    ),
    *_shops(
        "Auto Insurance",
        ("Steady Oak Insurance", 60, 170),
    ),
    *_shops("Service & Parts", ("Gasket Garage", 35, 400), ("Tread Masters", 40, 380)),
    *_shops("Parking", ("Lot 9 Parking", 2, 22), ("Kerbside Parking", 1, 15)),
    *_shops(
        "Public Transportation",
        ("Metro Valley Transit", 2, 9),
    ),
    *_shops(
        "Doctor",
        ("Foothills Clinic", 20, 150),
    ),
    *_shops(
        "Dentist",
        ("Molar and Co Dental", 35, 240),
    ),
    *_shops(
        "Charity",
        ("Open Hands Fund", 10, 75),
    ),
    *_shops(
        "Gift",
        ("Ribbon and Twine", 8, 65),
    ),
    *_shops("Restaurants", ("Trattoria Luna", 24, 110), ("Smoke and Cedar", 22, 95), twist=Twist.TIP),
    *_shops("Restaurants", ("Blue Door Bistro", 18, 90), ("Golden Carp", 16, 75), twist=Twist.TIP),
    *_shops("Alcohol & Bars", ("The Quiet Stool", 9, 60), ("Hop Cellar", 11, 70), twist=Twist.TIP),
    *_shops("Gas & Fuel", ("Prairie Fuel", 20, 70), ("Blue Heron Gas", 20, 68), twist=Twist.FUEL),
    *_shops("Gas & Fuel", ("Summit Pump", 22, 70), twist=Twist.FUEL),
    *_shops("Hotel", ("Larkspur Inn", 110, 390), ("Grand Teton Lodge", 130, 420), twist=Twist.HOTEL),
    Merchant(name="Libreria Roma", category="Books", low=12, high=70, twist=Twist.CURRENCY, place="ROMA IT"),
    Merchant(name="Maple Leaf Rail", category="Travel", low=25, high=160, twist=Twist.CURRENCY, place="TORONTO CA"),
    Merchant(name="Cafe Zurich", category="Restaurants", low=9, high=60, twist=Twist.CURRENCY, place="ZURICH CH"),
)


def by_twist(twist: Twist) -> tuple[Merchant, ...]:
    """List the shops where this difference can happen; a plain purchase happens at shops that have none."""
    return tuple(m for m in MERCHANTS if m.twist is twist)
