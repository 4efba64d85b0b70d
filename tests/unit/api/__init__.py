"""Tests of the local cloud's AWS API."""
