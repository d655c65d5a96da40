"""`python -m mpjax` is the command `mpjax`."""

import sys

from mpjax.cli import main

if __name__ == "__main__":
    sys.exit(main())
