"""``python -m aggrkit`` is the command ``aggrkit``."""

from aggrkit.cli import main

raise SystemExit(main())
