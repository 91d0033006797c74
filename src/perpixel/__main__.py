"""`python -m perpixel` is the same as `perpixel`."""

import sys

from perpixel.cli import main

if __name__ == "__main__":
    sys.exit(main())
