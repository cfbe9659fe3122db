"""Finding entries: an index that follows the writer, and a search that never waits for it."""
