"""Provides the Pulumi engine, and the part of it that runs Python programs. Leaves out provider plugins and running it."""
