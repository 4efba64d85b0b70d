"""The account: what AWS is asked, what it has of a deployment, prices, keys."""
