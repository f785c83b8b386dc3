"""The program as it may be tomorrow: it knows records of one version more, as which it writes purges."""

from __future__ import annotations

from cdn.journal import record

record.RECORD_VERSION += 1
record.SINCE[record.Purged] = record.RECORD_VERSION

if __name__ == "__main__":
    from cdn.cli.main import main

    main()
