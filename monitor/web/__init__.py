"""The dashboard and the read-only HTTP side."""
