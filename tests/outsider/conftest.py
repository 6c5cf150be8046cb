"""The outsider's tests look at what the product wrote; the worlds it writes in are shared with the ledger's units."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "ledger"))
