"""What happened: an append-only, provable record. Holds envelopes and bytes only, and knows no kind of entry."""
