"""The ledger's proofs of what was published: fetched, checked against the pinned key, kept."""
