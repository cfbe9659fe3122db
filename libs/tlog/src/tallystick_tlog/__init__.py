"""Transparency log: RFC 6962 hashes, Merkle proofs, signed notes, checkpoints. Pure functions over bytes."""
