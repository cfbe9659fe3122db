"""What auditors and services read: entries, proofs, exports."""
