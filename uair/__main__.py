"""`python -m uair`."""

import sys

from uair.cli import main

sys.exit(main())
