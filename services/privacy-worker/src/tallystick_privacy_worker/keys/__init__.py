"""Key pairs of people and tenants: minted ahead, destroyed at erasure."""
