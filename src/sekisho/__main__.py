"""`python -m sekisho`."""

import sys

from sekisho.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
