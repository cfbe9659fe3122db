"""Everything a service needs that is not its domain."""
