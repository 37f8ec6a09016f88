"""What outlives the process: the alert ledger (SQLite)."""
