"""Properties here are tried on few examples each, so that the folder runs in seconds."""

from hypothesis import settings

settings.register_profile("components", max_examples=25, deadline=None)
settings.load_profile("components")
