"""``python -m cdis`` is ``cdis``."""

import sys

from cdis.cli import main

if __name__ == "__main__":
    sys.exit(main())
