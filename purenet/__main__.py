"""Run the command line as ``python -m purenet``."""

import sys

from purenet.cli.entry import main

sys.exit(main())
