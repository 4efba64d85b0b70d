"""Client cities: where people are who call an endpoint, and the addresses that stand for them.

On the local cloud a city is a network of this machine, 127.200.N.0/24, so that a client is placed by its source address. On AWS
only a real address has a place. Where a city has one, `public_network` is a university's: an old, stable assignment, written
down from memory and not looked up here; Route 53 places it by a database of its own.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv4Network
from unicodedata import combining, normalize

from geography.places import Place

CLIENT_NETWORK = IPv4Network("127.200.0.0/16")
"""The clients of all cities on the local cloud."""


@dataclass(frozen=True)
class City:
    """A city, with the codes of Route 53's geolocation: continent, ISO 3166-1 country, US state."""

    name: str
    place: Place
    continent: str
    country: str
    us_state: str | None
    public_network: IPv4Network | None


def _city(  # noqa: PLR0913, PLR0917 - a row of a table
    name: str, north: float, east: float, continent: str, country: str, us_state: str | None = None, network: str | None = None
) -> City:
    return City(name, Place(north, east), continent, country, us_state, IPv4Network(network) if network else None)


_CITIES = (
    # The order gives the local network: new cities go to the end.
    _city("Los Angeles", 34.05, -118.24, "NA", "US", "CA", "164.67.0.0/16"),
    _city("Honolulu", 21.31, -157.86, "NA", "US", "HI", "128.171.0.0/16"),
    _city("Portland", 45.52, -122.68, "NA", "US", "OR", "131.252.0.0/16"),
    _city("Seattle", 47.61, -122.33, "NA", "US", "WA", "128.95.0.0/16"),
    _city("San Francisco", 37.77, -122.42, "NA", "US", "CA"),
    _city("San Diego", 32.72, -117.16, "NA", "US", "CA", "137.110.0.0/16"),
    _city("Las Vegas", 36.17, -115.14, "NA", "US", "NV", "131.216.0.0/16"),
    _city("Phoenix", 33.45, -112.07, "NA", "US", "AZ", "129.219.0.0/16"),
    _city("Salt Lake City", 40.76, -111.89, "NA", "US", "UT", "155.97.0.0/16"),
    _city("Denver", 39.74, -104.99, "NA", "US", "CO", "132.194.0.0/16"),
    _city("Anchorage", 61.22, -149.90, "NA", "US", "AK"),
    _city("Dallas", 32.78, -96.80, "NA", "US", "TX", "129.119.0.0/16"),
    _city("Houston", 29.76, -95.37, "NA", "US", "TX", "128.42.0.0/16"),
    _city("Kansas City", 39.10, -94.58, "NA", "US", "MO", "134.193.0.0/16"),
    _city("Minneapolis", 44.98, -93.27, "NA", "US", "MN", "128.101.0.0/16"),
    _city("Chicago", 41.88, -87.63, "NA", "US", "IL", "128.248.0.0/16"),
    _city("Atlanta", 33.75, -84.39, "NA", "US", "GA", "130.207.0.0/16"),
    _city("Miami", 25.76, -80.19, "NA", "US", "FL", "129.171.0.0/16"),
    _city("Washington", 38.91, -77.04, "NA", "US", "DC", "128.164.0.0/16"),
    _city("Philadelphia", 39.95, -75.17, "NA", "US", "PA", "130.91.0.0/16"),
    _city("New York", 40.71, -74.01, "NA", "US", "NY", "128.59.0.0/16"),
    _city("Boston", 42.36, -71.06, "NA", "US", "MA", "128.103.0.0/16"),
    _city("Vancouver", 49.28, -123.12, "NA", "CA", None, "142.103.0.0/16"),
    _city("Toronto", 43.65, -79.38, "NA", "CA", None, "128.100.0.0/16"),
    _city("Montreal", 45.50, -73.57, "NA", "CA", None, "132.206.0.0/16"),
    _city("Mexico City", 19.43, -99.13, "NA", "MX", None, "132.248.0.0/16"),
    _city("Bogotá", 4.71, -74.07, "SA", "CO", None, "168.176.0.0/16"),
    _city("Lima", -12.05, -77.04, "SA", "PE"),
    _city("Santiago", -33.45, -70.67, "SA", "CL", None, "146.83.0.0/16"),
    _city("Buenos Aires", -34.60, -58.38, "SA", "AR", None, "157.92.0.0/16"),
    _city("São Paulo", -23.55, -46.63, "SA", "BR", None, "143.107.0.0/16"),
    _city("Dublin", 53.35, -6.26, "EU", "IE", None, "134.226.0.0/16"),
    _city("London", 51.51, -0.13, "EU", "GB", None, "155.198.0.0/16"),
    _city("Paris", 48.86, 2.35, "EU", "FR", None, "134.157.0.0/16"),
    _city("Madrid", 40.42, -3.70, "EU", "ES", None, "147.96.0.0/16"),
    _city("Frankfurt", 50.11, 8.68, "EU", "DE", None, "141.2.0.0/16"),
    _city("Hamburg", 53.55, 9.99, "EU", "DE", None, "134.100.0.0/16"),
    _city("Zurich", 47.38, 8.54, "EU", "CH", None, "129.132.0.0/16"),
    _city("Milan", 45.46, 9.19, "EU", "IT", None, "131.175.0.0/16"),
    _city("Copenhagen", 55.68, 12.57, "EU", "DK", None, "130.225.0.0/16"),
    _city("Stockholm", 59.33, 18.07, "EU", "SE", None, "130.237.0.0/16"),
    _city("Helsinki", 60.17, 24.94, "EU", "FI", None, "128.214.0.0/16"),
    _city("Warsaw", 52.23, 21.01, "EU", "PL", None, "193.0.64.0/18"),
    _city("Istanbul", 41.01, 28.98, "AS", "TR"),
    _city("Cairo", 30.04, 31.24, "AF", "EG"),
    _city("Lagos", 6.52, 3.38, "AF", "NG"),
    _city("Nairobi", -1.29, 36.82, "AF", "KE"),
    _city("Cape Town", -33.92, 18.42, "AF", "ZA", None, "137.158.0.0/16"),
    _city("Dubai", 25.20, 55.27, "AS", "AE"),
    _city("Mumbai", 19.08, 72.88, "AS", "IN"),
    _city("Delhi", 28.61, 77.21, "AS", "IN"),
    _city("Bangkok", 13.76, 100.50, "AS", "TH", None, "161.200.0.0/16"),
    _city("Singapore", 1.35, 103.82, "AS", "SG", None, "137.132.0.0/16"),
    _city("Manila", 14.60, 120.98, "AS", "PH"),
    _city("Hong Kong", 22.32, 114.17, "AS", "HK", None, "147.8.0.0/16"),
    _city("Taipei", 25.03, 121.57, "AS", "TW", None, "140.112.0.0/16"),
    _city("Seoul", 37.57, 126.98, "AS", "KR", None, "147.46.0.0/16"),
    _city("Tokyo", 35.68, 139.69, "AS", "JP", None, "133.11.0.0/16"),
    _city("Perth", -31.95, 115.86, "OC", "AU", None, "130.95.0.0/16"),
    _city("Sydney", -33.87, 151.21, "OC", "AU", None, "129.78.0.0/16"),
    _city("Auckland", -36.85, 174.76, "OC", "NZ", None, "130.216.0.0/16"),
    _city("Berlin", 52.52, 13.40, "EU", "DE", None, "130.149.0.0/16"),
    _city("Munich", 48.14, 11.58, "EU", "DE", None, "129.187.0.0/16"),
    _city("Amsterdam", 52.37, 4.90, "EU", "NL", None, "145.18.0.0/16"),
    _city("Vienna", 48.21, 16.37, "EU", "AT", None, "131.130.0.0/16"),
    _city("Rome", 41.90, 12.50, "EU", "IT", None, "151.100.0.0/16"),
    _city("Oslo", 59.91, 10.75, "EU", "NO", None, "129.240.0.0/16"),
    _city("Osaka", 34.69, 135.50, "AS", "JP", None, "133.1.0.0/16"),
    _city("Melbourne", -37.81, 144.96, "OC", "AU", None, "128.250.0.0/16"),
)

CITIES: dict[str, City] = {city.name: city for city in _CITIES}


def local_network(city: City) -> IPv4Network:
    """The city's clients on the local cloud, a /24 of CLIENT_NETWORK."""
    return IPv4Network((CLIENT_NETWORK.network_address + 256 * (_CITIES.index(city) + 1), 24))


def city_of(address: IPv4Address) -> City | None:
    """The city that an address stands in, by local or public network; None where the table does not know it."""
    if address in CLIENT_NETWORK:
        number = address.packed[2] - 1
        return _CITIES[number] if 0 <= number < len(_CITIES) else None
    return next((city for city in _CITIES if city.public_network and address in city.public_network), None)


def find_city(name: str) -> City | None:
    """A city by its name, without regard to case and accents."""
    wanted = _plain(name)
    return next((city for city in _CITIES if _plain(city.name) == wanted), None)


def likeliest_cities(name: str) -> list[str]:
    """What was meant by the name of no city: names that are written alike, the likeliest first; empty where none is."""
    return get_close_matches(name.title(), CITIES, 2)


def _plain(name: str) -> str:
    return "".join(letter for letter in normalize("NFKD", name) if not combining(letter)).casefold().strip()
