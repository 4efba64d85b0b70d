"""The local cloud: a small AWS on this machine. Test equipment; nothing in the product imports it."""
