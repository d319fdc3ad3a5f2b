"""`python -m proof`."""

import sys

from proof.main import main

sys.exit(main())
