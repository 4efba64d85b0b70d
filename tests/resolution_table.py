"""Which site a client in a city gets: written by hand from Route 53's rules and a map, as the answer that the code is held to.

How it was made: distances are great circles between the cities' airports, reckoned with coordinates and a formula other than
geography's; the choice was then made by hand, rule by rule. A cell is judged only where the nearest is nearer than the next by
more than 250 km, since no rule says where exactly a Region or a Local Zone stands; `-` stands for a tie.

The columns: all sites serve, then with each one down. Sites: ORE us-west-2a (Oregon), LAX us-west-2-lax-1a (Los Angeles),
HNL us-west-2-hnl-1a (Honolulu), TYO ap-northeast-1a (Tokyo), TPE ap-northeast-1-tpe-1a (Taipei), FRA eu-central-1a (Frankfurt),
WAW eu-central-1-waw-1a (Warsaw).
"""

ZONES = {
    "ORE": "us-west-2a",
    "LAX": "us-west-2-lax-1a",
    "HNL": "us-west-2-hnl-1a",
    "TYO": "ap-northeast-1a",
    "TPE": "ap-northeast-1-tpe-1a",
    "FRA": "eu-central-1a",
    "WAW": "eu-central-1-waw-1a",
}

PROD = """
# Policy latency, one parent Region. Its only latency record decides nothing: the nearest of three sites serves.
city           up   -ORE -LAX -HNL
# Hawaii. Los Angeles (4100 km) is next, 290 km before Oregon.
Honolulu       HNL  HNL  HNL  LAX
# South of the line halfway between Los Angeles and Oregon, down to Latin America: Los Angeles, then Oregon.
Los Angeles    LAX  LAX  ORE  LAX
San Diego      LAX  LAX  ORE  LAX
San Francisco  LAX  LAX  ORE  LAX
Las Vegas      LAX  LAX  ORE  LAX
Phoenix        LAX  LAX  ORE  LAX
Dallas         LAX  LAX  ORE  LAX
Houston        LAX  LAX  ORE  LAX
Miami          LAX  LAX  ORE  LAX
Mexico City    LAX  LAX  ORE  LAX
Bogotá         LAX  LAX  ORE  LAX
Lima           LAX  LAX  ORE  LAX
Santiago       LAX  LAX  ORE  LAX
Buenos Aires   LAX  LAX  ORE  LAX
São Paulo      LAX  LAX  ORE  LAX
# North of it, and Europe and East Africa, whose great circles come over the north: Oregon, then Los Angeles.
Portland       ORE  LAX  ORE  ORE
Seattle        ORE  LAX  ORE  ORE
Vancouver      ORE  LAX  ORE  ORE
Anchorage      ORE  LAX  ORE  ORE
Minneapolis    ORE  LAX  ORE  ORE
Toronto        ORE  LAX  ORE  ORE
Montreal       ORE  LAX  ORE  ORE
New York       ORE  LAX  ORE  ORE
Boston         ORE  LAX  ORE  ORE
Dublin         ORE  LAX  ORE  ORE
London         ORE  LAX  ORE  ORE
Paris          ORE  LAX  ORE  ORE
Madrid         ORE  LAX  ORE  ORE
Frankfurt      ORE  LAX  ORE  ORE
Stockholm      ORE  LAX  ORE  ORE
Warsaw         ORE  LAX  ORE  ORE
Istanbul       ORE  LAX  ORE  ORE
Cairo          ORE  LAX  ORE  ORE
Lagos          ORE  LAX  ORE  ORE
Nairobi        ORE  LAX  ORE  ORE
Dubai          ORE  LAX  ORE  ORE
# South Asia by the pole: Oregon is nearer than Honolulu, and that nearer than Los Angeles.
Delhi          ORE  HNL  ORE  ORE
# East Asia and Oceania: Honolulu. Without it Oregon from the north, Los Angeles from the south.
Tokyo          HNL  HNL  HNL  ORE
Seoul          HNL  HNL  HNL  ORE
Taipei         HNL  HNL  HNL  ORE
Hong Kong      HNL  HNL  HNL  ORE
Manila         HNL  HNL  HNL  ORE
Bangkok        HNL  HNL  HNL  ORE
Singapore      HNL  HNL  HNL  ORE
Sydney         HNL  HNL  HNL  LAX
Auckland       HNL  HNL  HNL  LAX
Perth          HNL  HNL  HNL  -
"""

TWO_REGIONS = """
# Policy latency, us-west-2 and ap-northeast-1. First the Region (Oregon or Tokyo, whichever is nearer) as long as one of its
# sites serves, then the nearest of that Region's sites, although one of the other Region's may be nearer.
city           up   -ORE -LAX -HNL -TYO -TPE
# Honolulu: Oregon (4400 km) before Tokyo (6200). So Los Angeles stands in.
Honolulu       HNL  HNL  HNL  LAX  HNL  HNL
# us-west-2, south
Los Angeles    LAX  LAX  ORE  LAX  LAX  LAX
San Diego      LAX  LAX  ORE  LAX  LAX  LAX
Phoenix        LAX  LAX  ORE  LAX  LAX  LAX
Miami          LAX  LAX  ORE  LAX  LAX  LAX
Mexico City    LAX  LAX  ORE  LAX  LAX  LAX
Lima           LAX  LAX  ORE  LAX  LAX  LAX
Santiago       LAX  LAX  ORE  LAX  LAX  LAX
# us-west-2, north, and western Europe
Seattle        ORE  LAX  ORE  ORE  ORE  ORE
Vancouver      ORE  LAX  ORE  ORE  ORE  ORE
Anchorage      ORE  LAX  ORE  ORE  ORE  ORE
Boston         ORE  LAX  ORE  ORE  ORE  ORE
Dublin         ORE  LAX  ORE  ORE  ORE  ORE
London         ORE  LAX  ORE  ORE  ORE  ORE
Paris          ORE  LAX  ORE  ORE  ORE  ORE
Madrid         ORE  LAX  ORE  ORE  ORE  ORE
Frankfurt      ORE  LAX  ORE  ORE  ORE  ORE
# Scandinavia: Oregon before Tokyo. Without Oregon its Region still has Los Angeles, although Tokyo is nearer then.
Copenhagen     ORE  LAX  ORE  ORE  ORE  ORE
Stockholm      ORE  LAX  ORE  ORE  ORE  ORE
# ap-northeast-1, north
Tokyo          TYO  TYO  TYO  TYO  TPE  TYO
Seoul          TYO  TYO  TYO  TYO  TPE  TYO
# ap-northeast-1, south and west of it: nearer to Taipei
Taipei         TPE  TPE  TPE  TPE  TPE  TYO
Hong Kong      TPE  TPE  TPE  TPE  TPE  TYO
Manila         TPE  TPE  TPE  TPE  TPE  TYO
Singapore      TPE  TPE  TPE  TPE  TPE  TYO
Bangkok        TPE  TPE  TPE  TPE  TPE  TYO
Mumbai         TPE  TPE  TPE  TPE  TPE  TYO
Delhi          TPE  TPE  TPE  TPE  TPE  TYO
Dubai          TPE  TPE  TPE  TPE  TPE  TYO
Perth          TPE  TPE  TPE  TPE  TPE  TYO
Sydney         TPE  TPE  TPE  TPE  TPE  TYO
# Africa's east and Turkey: Tokyo before Oregon
Istanbul       TPE  TPE  TPE  TPE  TPE  TYO
Cairo          TPE  TPE  TPE  TPE  TPE  TYO
Nairobi        TPE  TPE  TPE  TPE  TPE  TYO
Cape Town      TPE  TPE  TPE  TPE  TPE  TYO
# New Zealand: Tokyo before Oregon, so not Honolulu, which is nearest of all. Tokyo and Taipei are equally far.
Auckland       -    -    -    -    TPE  TYO
"""

FLAT = """
# Policy geoproximity, the same five sites in one flat set: the nearest, whatever its Region.
city           up   -ORE -LAX -HNL -TYO -TPE
Honolulu       HNL  HNL  HNL  LAX  HNL  HNL
# North and south of the line between Los Angeles and Oregon; western Europe
Los Angeles    LAX  LAX  ORE  LAX  LAX  LAX
Phoenix        LAX  LAX  ORE  LAX  LAX  LAX
Miami          LAX  LAX  ORE  LAX  LAX  LAX
Mexico City    LAX  LAX  ORE  LAX  LAX  LAX
Lima           LAX  LAX  ORE  LAX  LAX  LAX
Santiago       LAX  LAX  ORE  LAX  LAX  LAX
Seattle        ORE  LAX  ORE  ORE  ORE  ORE
Vancouver      ORE  LAX  ORE  ORE  ORE  ORE
Anchorage      ORE  LAX  ORE  ORE  ORE  ORE
Boston         ORE  LAX  ORE  ORE  ORE  ORE
Dublin         ORE  LAX  ORE  ORE  ORE  ORE
London         ORE  LAX  ORE  ORE  ORE  ORE
Paris          ORE  LAX  ORE  ORE  ORE  ORE
Madrid         ORE  LAX  ORE  ORE  ORE  ORE
# Scandinavia: without Oregon something in East Asia, unlike in the tree; Tokyo and Taipei are equally far.
Stockholm      ORE  -    ORE  ORE  ORE  ORE
Tokyo          TYO  TYO  TYO  TYO  TPE  TYO
Seoul          TYO  TYO  TYO  TYO  TPE  TYO
Taipei         TPE  TPE  TPE  TPE  TPE  TYO
Hong Kong      TPE  TPE  TPE  TPE  TPE  TYO
Manila         TPE  TPE  TPE  TPE  TPE  TYO
Singapore      TPE  TPE  TPE  TPE  TPE  TYO
Bangkok        TPE  TPE  TPE  TPE  TPE  TYO
Mumbai         TPE  TPE  TPE  TPE  TPE  TYO
Delhi          TPE  TPE  TPE  TPE  TPE  TYO
Dubai          TPE  TPE  TPE  TPE  TPE  TYO
Istanbul       TPE  TPE  TPE  TPE  TPE  TYO
Cairo          TPE  TPE  TPE  TPE  TPE  TYO
Nairobi        TPE  TPE  TPE  TPE  TPE  TYO
Cape Town      TPE  TPE  TPE  TPE  TPE  TYO
Sydney         TPE  TPE  TPE  TPE  TPE  TYO
# New Zealand: Honolulu (7100 km), unlike in the tree. Tokyo and Taipei (8800) are equally far.
Auckland       HNL  HNL  HNL  -    HNL  HNL
"""

GEOLOCATION_DEFAULT = "ORE"
GEOLOCATION_CONTINENTS = {"NA": "LAX", "EU": "FRA"}
GEOLOCATION_COUNTRIES = {"CA": "ORE", "PL": "WAW"}
GEOLOCATION_US_STATES = {"HI": "HNL", "WA": "ORE"}
GEOLOCATION = """
# Policy geolocation by the map above: a US state before its country, that before its continent, that before the default. The
# mapped site as long as it serves, else the nearest of the others.
city           up   -ORE -LAX -HNL -FRA -WAW
# States of their own
Honolulu       HNL  HNL  HNL  LAX  HNL  HNL
Seattle        ORE  LAX  ORE  ORE  ORE  ORE
# The rest of North America: Los Angeles, although Portland and Boston are nearer to Oregon
Los Angeles    LAX  LAX  ORE  LAX  LAX  LAX
San Diego      LAX  LAX  ORE  LAX  LAX  LAX
Phoenix        LAX  LAX  ORE  LAX  LAX  LAX
Portland       LAX  LAX  ORE  LAX  LAX  LAX
Miami          LAX  LAX  ORE  LAX  LAX  LAX
Boston         LAX  LAX  ORE  LAX  LAX  LAX
Mexico City    LAX  LAX  ORE  LAX  LAX  LAX
# Canada, a country before its continent
Vancouver      ORE  LAX  ORE  ORE  ORE  ORE
Toronto        ORE  LAX  ORE  ORE  ORE  ORE
Montreal       ORE  LAX  ORE  ORE  ORE  ORE
# Europe: Frankfurt, also where Warsaw is nearer
Dublin         FRA  FRA  FRA  FRA  WAW  FRA
London         FRA  FRA  FRA  FRA  WAW  FRA
Madrid         FRA  FRA  FRA  FRA  WAW  FRA
Milan          FRA  FRA  FRA  FRA  WAW  FRA
Copenhagen     FRA  FRA  FRA  FRA  WAW  FRA
Stockholm      FRA  FRA  FRA  FRA  WAW  FRA
Helsinki       FRA  FRA  FRA  FRA  WAW  FRA
# Poland
Warsaw         WAW  WAW  WAW  WAW  WAW  FRA
# Everywhere else the default, Oregon. Turkey is in Asia for Route 53. Without Oregon the nearest:
# South America is nearest to Los Angeles,
Lima           ORE  LAX  ORE  ORE  ORE  ORE
Santiago       ORE  LAX  ORE  ORE  ORE  ORE
Buenos Aires   ORE  LAX  ORE  ORE  ORE  ORE
# West Africa to Frankfurt, Egypt and Asia up to Hong Kong to Warsaw,
Lagos          ORE  FRA  ORE  ORE  ORE  ORE
Istanbul       ORE  WAW  ORE  ORE  ORE  ORE
Cairo          ORE  WAW  ORE  ORE  ORE  ORE
Dubai          ORE  WAW  ORE  ORE  ORE  ORE
Delhi          ORE  WAW  ORE  ORE  ORE  ORE
Singapore      ORE  WAW  ORE  ORE  ORE  ORE
Hong Kong      ORE  WAW  ORE  ORE  ORE  ORE
# and the Pacific to Honolulu.
Manila         ORE  HNL  ORE  ORE  ORE  ORE
Seoul          ORE  HNL  ORE  ORE  ORE  ORE
Tokyo          ORE  HNL  ORE  ORE  ORE  ORE
Sydney         ORE  HNL  ORE  ORE  ORE  ORE
Auckland       ORE  HNL  ORE  ORE  ORE  ORE
"""


def cells(table: str) -> list[tuple[str, str | None, str]]:
    """The judged cells of a table: city, the site that is down (None: all serve), the site that the city gets."""
    lines = [line for line in table.splitlines() if line and not line.startswith("#")]
    downs = [None if column == "up" else column.removeprefix("-") for column in lines[0].split()[1:]]
    found: list[tuple[str, str | None, str]] = []
    for line in lines[1:]:
        city, expected = line[:15].strip(), line[15:].split()
        found += [(city, down, site) for down, site in zip(downs, expected, strict=True) if site != "-"]
    return found
