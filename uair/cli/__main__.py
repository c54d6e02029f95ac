"""`python -m uair.cli`."""

import sys

from uair.cli import main

sys.exit(main())
