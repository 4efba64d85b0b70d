"""Route 53's data plane on this machine: which record answers a client, and the server that says so.

Imports nothing of the rest of the local cloud.
"""
