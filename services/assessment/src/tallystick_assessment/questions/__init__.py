"""Questions: items with their keys, versioned and immutable."""
