"""One immutable picture of what should be: content-addressed parts under a manifest."""
