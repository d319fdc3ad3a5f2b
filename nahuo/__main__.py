"""`python -m nahuo`: the same as the command `nahuo`."""

from nahuo.cli import main

raise SystemExit(main())
