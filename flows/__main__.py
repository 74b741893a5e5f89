"""`python -m flows` is the `dreampose` command."""

import sys

from flows.cli import main

sys.exit(main())
