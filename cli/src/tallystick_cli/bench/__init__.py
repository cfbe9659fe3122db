"""Material to measure with."""
