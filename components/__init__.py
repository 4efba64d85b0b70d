"""The Pulumi components of an edge inference stack, and the pure decisions that they are made of."""

PROJECT = "edge-inference"
"""Namespace of the config, of the tags and of the components' tokens."""
__version__ = "0.1.0"
