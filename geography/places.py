"""Points on the globe: parent Regions, Local Zone groups, and the distance between two of them.

AWS publishes no coordinates. A Region's are those of the city or county that its name stands for, a Local Zone group's those of
its city: good for tens of kilometres, less than a millisecond. Left out: China, GovCloud and the European Sovereign Cloud.
"""

from dataclasses import dataclass
from math import asin, cos, radians, sin, sqrt
from typing import Protocol, Self, TypeVar

_EARTH_RADIUS_KM = 6371.0
"""Mean radius (IUGG)."""


@dataclass(frozen=True)
class Place:
    """A point, in degrees: north and east are positive."""

    latitude: float
    longitude: float


def distance_km(one: Place, other: Place) -> float:
    """Great-circle distance by the haversine formula, in kilometres."""
    north = radians(other.latitude - one.latitude) / 2
    east = radians(other.longitude - one.longitude) / 2
    share = sin(north) ** 2 + cos(radians(one.latitude)) * cos(radians(other.latitude)) * sin(east) ** 2
    return 2 * _EARTH_RADIUS_KM * asin(sqrt(share))


REGIONS: dict[str, Place] = {
    "af-south-1": Place(-33.92, 18.42),  # Cape Town
    "ap-east-1": Place(22.32, 114.17),  # Hong Kong
    "ap-east-2": Place(25.03, 121.57),  # Taipei
    "ap-northeast-1": Place(35.68, 139.69),  # Tokyo
    "ap-northeast-2": Place(37.57, 126.98),  # Seoul
    "ap-northeast-3": Place(34.69, 135.50),  # Osaka
    "ap-south-1": Place(19.08, 72.88),  # Mumbai
    "ap-south-2": Place(17.39, 78.49),  # Hyderabad
    "ap-southeast-1": Place(1.35, 103.82),  # Singapore
    "ap-southeast-2": Place(-33.87, 151.21),  # Sydney
    "ap-southeast-3": Place(-6.21, 106.85),  # Jakarta
    "ap-southeast-4": Place(-37.81, 144.96),  # Melbourne
    "ap-southeast-5": Place(3.14, 101.69),  # Kuala Lumpur
    "ap-southeast-6": Place(-36.85, 174.76),  # Auckland
    "ap-southeast-7": Place(13.76, 100.50),  # Bangkok
    "ca-central-1": Place(45.50, -73.57),  # Montreal
    "ca-west-1": Place(51.05, -114.07),  # Calgary
    "eu-central-1": Place(50.11, 8.68),  # Frankfurt
    "eu-central-2": Place(47.38, 8.54),  # Zurich
    "eu-north-1": Place(59.33, 18.07),  # Stockholm
    "eu-south-1": Place(45.46, 9.19),  # Milan
    "eu-south-2": Place(41.65, -0.88),  # Zaragoza
    "eu-west-1": Place(53.35, -6.26),  # Dublin
    "eu-west-2": Place(51.51, -0.13),  # London
    "eu-west-3": Place(48.86, 2.35),  # Paris
    "il-central-1": Place(32.09, 34.78),  # Tel Aviv
    "me-central-1": Place(25.20, 55.27),  # Dubai
    "me-south-1": Place(26.07, 50.55),  # Bahrain
    "mx-central-1": Place(20.59, -100.39),  # Querétaro
    "sa-east-1": Place(-23.55, -46.63),  # São Paulo
    "us-east-1": Place(39.04, -77.49),  # Ashburn
    "us-east-2": Place(39.96, -83.00),  # Columbus
    "us-west-1": Place(37.35, -121.96),  # Santa Clara
    "us-west-2": Place(45.84, -119.70),  # Boardman
}


class _Distance(Protocol):
    """A number, or an array of them."""

    def __add__(self, other: float, /) -> Self: ...
    def __mul__(self, other: float, /) -> Self: ...
    def __truediv__(self, other: float, /) -> Self: ...


Kilometres = TypeVar("Kilometres", bound=_Distance)


def biased_km(kilometres: Kilometres, bias: int) -> Kilometres:
    """A distance as geoproximity routing sees it: less for a positive bias, more for a negative one.

    AWS documents the direction only. This formula is the one that training courses quote: times (1 - bias/100) for a positive
    bias, divided by (1 + bias/100) for a negative one.
    """
    share = bias / 100
    return kilometres * (1 - share) if share > 0 else kilometres / (1 + share)


REGION_NAMES: dict[str, str] = {
    "af-south-1": "Cape Town",
    "ap-east-1": "Hong Kong",
    "ap-east-2": "Taipei",
    "ap-northeast-1": "Tokyo",
    "ap-northeast-2": "Seoul",
    "ap-northeast-3": "Osaka",
    "ap-south-1": "Mumbai",
    "ap-south-2": "Hyderabad",
    "ap-southeast-1": "Singapore",
    "ap-southeast-2": "Sydney",
    "ap-southeast-3": "Jakarta",
    "ap-southeast-4": "Melbourne",
    "ap-southeast-5": "Malaysia",
    "ap-southeast-6": "New Zealand",
    "ap-southeast-7": "Thailand",
    "ca-central-1": "Montreal",
    "ca-west-1": "Calgary",
    "eu-central-1": "Frankfurt",
    "eu-central-2": "Zurich",
    "eu-north-1": "Stockholm",
    "eu-south-1": "Milan",
    "eu-south-2": "Spain",
    "eu-west-1": "Ireland",
    "eu-west-2": "London",
    "eu-west-3": "Paris",
    "il-central-1": "Tel Aviv",
    "me-central-1": "UAE",
    "me-south-1": "Bahrain",
    "mx-central-1": "Mexico",
    "sa-east-1": "São Paulo",
    "us-east-1": "Northern Virginia",
    "us-east-2": "Ohio",
    "us-west-1": "Northern California",
    "us-west-2": "Oregon",
}
"""What a sentence calls a Region: about what AWS calls it."""


@dataclass(frozen=True)
class ZoneGroupPlace:
    """The city that a Local Zone group stands in."""

    city: str
    place: Place


ZONE_GROUPS: dict[str, ZoneGroupPlace] = {
    "us-west-2-lax-1": ZoneGroupPlace("Los Angeles", Place(34.05, -118.24)),
    "us-west-2-hnl-1": ZoneGroupPlace("Honolulu", Place(21.31, -157.86)),
    "us-west-2-den-1": ZoneGroupPlace("Denver", Place(39.74, -104.99)),
    "us-west-2-las-1": ZoneGroupPlace("Las Vegas", Place(36.17, -115.14)),
    "us-west-2-pdx-1": ZoneGroupPlace("Portland", Place(45.52, -122.68)),
    "us-west-2-phx-1": ZoneGroupPlace("Phoenix", Place(33.45, -112.07)),
    "us-west-2-phx-2": ZoneGroupPlace("Phoenix", Place(33.45, -112.07)),
    "us-west-2-sea-1": ZoneGroupPlace("Seattle", Place(47.61, -122.33)),
    "us-east-1-atl-1": ZoneGroupPlace("Atlanta", Place(33.75, -84.39)),
    "us-east-1-atl-2": ZoneGroupPlace("Atlanta", Place(33.75, -84.39)),
    "us-east-1-bos-1": ZoneGroupPlace("Boston", Place(42.36, -71.06)),
    "us-east-1-bue-1": ZoneGroupPlace("Buenos Aires", Place(-34.60, -58.38)),
    "us-east-1-chi-1": ZoneGroupPlace("Chicago", Place(41.88, -87.63)),
    "us-east-1-chi-2": ZoneGroupPlace("Chicago", Place(41.88, -87.63)),
    "us-east-1-dfw-1": ZoneGroupPlace("Dallas", Place(32.78, -96.80)),
    "us-east-1-dfw-2": ZoneGroupPlace("Dallas", Place(32.78, -96.80)),
    "us-east-1-iah-1": ZoneGroupPlace("Houston", Place(29.76, -95.37)),
    "us-east-1-iah-2": ZoneGroupPlace("Houston", Place(29.76, -95.37)),
    "us-east-1-lim-1": ZoneGroupPlace("Lima", Place(-12.05, -77.04)),
    "us-east-1-mci-1": ZoneGroupPlace("Kansas City", Place(39.10, -94.58)),
    "us-east-1-mia-1": ZoneGroupPlace("Miami", Place(25.76, -80.19)),
    "us-east-1-mia-2": ZoneGroupPlace("Miami", Place(25.76, -80.19)),
    "us-east-1-msp-1": ZoneGroupPlace("Minneapolis", Place(44.98, -93.27)),
    "us-east-1-nyc-1": ZoneGroupPlace("New York City", Place(40.71, -74.01)),
    "us-east-1-nyc-2": ZoneGroupPlace("New York City", Place(40.71, -74.01)),
    "us-east-1-phl-1": ZoneGroupPlace("Philadelphia", Place(39.95, -75.17)),
    "us-east-1-qro-1": ZoneGroupPlace("Queretaro", Place(20.59, -100.39)),
    "us-east-1-scl-1": ZoneGroupPlace("Santiago", Place(-33.45, -70.67)),
    "af-south-1-los-1": ZoneGroupPlace("Lagos", Place(6.52, 3.38)),
    "ap-northeast-1-tpe-1": ZoneGroupPlace("Taipei", Place(25.03, 121.57)),
    "ap-south-1-ccu-1": ZoneGroupPlace("Kolkata", Place(22.57, 88.36)),
    "ap-south-1-del-1": ZoneGroupPlace("Delhi", Place(28.61, 77.21)),
    "ap-southeast-1-bkk-1": ZoneGroupPlace("Bangkok", Place(13.76, 100.50)),
    "ap-southeast-1-han-1": ZoneGroupPlace("Hanoi", Place(21.03, 105.85)),
    "ap-southeast-1-mnl-1": ZoneGroupPlace("Manila", Place(14.60, 120.98)),
    "ap-southeast-2-akl-1": ZoneGroupPlace("Auckland", Place(-36.85, 174.76)),
    "ap-southeast-2-per-1": ZoneGroupPlace("Perth", Place(-31.95, 115.86)),
    "eu-central-1-ath-1": ZoneGroupPlace("Athens", Place(37.98, 23.73)),
    "eu-central-1-ham-1": ZoneGroupPlace("Hamburg", Place(53.55, 9.99)),
    "eu-central-1-ist-1": ZoneGroupPlace("Istanbul", Place(41.01, 28.98)),
    "eu-central-1-waw-1": ZoneGroupPlace("Warsaw", Place(52.23, 21.01)),
    "eu-north-1-cph-1": ZoneGroupPlace("Copenhagen", Place(55.68, 12.57)),
    "eu-north-1-hel-1": ZoneGroupPlace("Helsinki", Place(60.17, 24.94)),
    "me-south-1-mct-1": ZoneGroupPlace("Muscat", Place(23.59, 58.41)),
}

_REGION_COUNTRIES = {
    "af-south-1": "ZA", "ap-east-1": "HK", "ap-east-2": "TW",
    "ap-northeast-1": "JP", "ap-northeast-2": "KR", "ap-northeast-3": "JP",
    "ap-south-1": "IN", "ap-south-2": "IN", "ap-southeast-1": "SG", "ap-southeast-2": "AU", "ap-southeast-3": "ID",
    "ap-southeast-4": "AU", "ap-southeast-5": "MY", "ap-southeast-6": "NZ", "ap-southeast-7": "TH", "ca-central-1": "CA",
    "ca-west-1": "CA", "eu-central-1": "DE", "eu-central-2": "CH", "eu-north-1": "SE", "eu-south-1": "IT", "eu-south-2": "ES",
    "eu-west-1": "IE", "eu-west-2": "GB", "eu-west-3": "FR", "il-central-1": "IL", "me-central-1": "AE", "me-south-1": "BH",
    "mx-central-1": "MX", "sa-east-1": "BR", "us-east-1": "US", "us-east-2": "US", "us-west-1": "US", "us-west-2": "US",
}  # fmt: skip
_ABROAD = {
    "us-east-1-bue-1": "AR", "us-east-1-lim-1": "PE", "us-east-1-qro-1": "MX", "us-east-1-scl-1": "CL", "af-south-1-los-1": "NG",
    "ap-northeast-1-tpe-1": "TW", "ap-southeast-1-bkk-1": "TH", "ap-southeast-1-han-1": "VN", "ap-southeast-1-mnl-1": "PH",
    "ap-southeast-2-akl-1": "NZ", "eu-central-1-ath-1": "GR", "eu-central-1-ist-1": "TR", "eu-central-1-waw-1": "PL",
    "eu-north-1-cph-1": "DK", "eu-north-1-hel-1": "FI", "me-south-1-mct-1": "OM",
}  # fmt: skip
"""Zone groups that stand in another country than their parent Region."""


def country_of(group: str) -> str:
    """The country that a zone group, or a Region, stands in: ISO 3166-1."""
    return _ABROAD.get(group) or _REGION_COUNTRIES[group if group in REGIONS else group.rsplit("-", 2)[0]]


_LETTERS = {"us-west-2-lax-1": "ab", "us-east-1": "abcdef"}


def zone_letters(group: str) -> str:
    """The letters that zones of a group, or of a Region itself, may end in; empty for a group that is not on the map.

    Which of a Region's an account sees, AWS alone knows.
    """
    if group in ZONE_GROUPS or group in REGIONS:
        return _LETTERS.get(group, "a" if group in ZONE_GROUPS else "abcd")
    return ""


def short_name(place: str) -> str:
    """A place's name where there is little room, as AWS itself shortens it: N. Virginia, N. California."""
    return place.replace("Northern ", "N. ")


def city_of(group: str) -> str:
    """What a sentence calls the place of a zone group, or of a Region's own zones."""
    return ZONE_GROUPS[group].city if group in ZONE_GROUPS else REGION_NAMES.get(group, group)
