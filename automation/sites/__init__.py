"""The sites as they run: their hosts and endpoints, health, routes, measurements, what doctor looks at."""
