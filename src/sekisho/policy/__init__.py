"""Which deployment may receive which request: Cedar schema, packs, decisions."""
