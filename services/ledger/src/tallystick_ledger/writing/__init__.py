"""From messages of the bus to committed entries, checkpoints and receipts."""
