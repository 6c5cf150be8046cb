"""Whether what was recorded was right: decisions made again, and the ledger held against a provider's own records."""
