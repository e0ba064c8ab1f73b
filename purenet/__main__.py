"""Run the command line as ``python -m purenet``."""

import sys

from purenet._entry import main

sys.exit(main())
