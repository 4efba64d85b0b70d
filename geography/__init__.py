"""Where cities, Regions and Local Zones are, how far apart, and what that costs in time. Data that imports nothing of ours."""
