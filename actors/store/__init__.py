"""Everything on disk. Read schema, then log, then writer. Knows no scheduler."""
