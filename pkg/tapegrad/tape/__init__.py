"""Storage, records and the sweep."""
