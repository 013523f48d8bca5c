"""A guest book: small, and yet a real thing."""
