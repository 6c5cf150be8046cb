"""The request path: from the caller's first byte to the outcome's record."""
