"""Hosts of the local cloud: every running instance as an SSH server with its own root directory.

Left out on purpose: a kernel, users and real root of their own; commands run as the person who
started the cloud, below the host's root directory by the scripts' own discipline.
"""
