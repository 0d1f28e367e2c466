"""`python -m bench`: measures the whole system, the floor beside it, and writes JSON and a table."""

import sys

from bench.main import main

if __name__ == "__main__":
    sys.exit(main())
