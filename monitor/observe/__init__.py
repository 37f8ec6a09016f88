"""Logs, metrics and health of the monitor itself."""
