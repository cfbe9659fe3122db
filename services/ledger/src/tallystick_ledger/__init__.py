"""Hash-chained logs and their trees, checkpoints, proofs and export."""
