"""The program as it may be tomorrow: it knows records of version 2, as which it writes purges."""

from __future__ import annotations

from cdn.journal import record

record.RECORD_VERSION = 2
record.SINCE[record.Purged] = 2

if __name__ == "__main__":
    from cdn.cli.main import main

    main()
