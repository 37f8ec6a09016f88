"""The live monitor: feeds in, scores, causes and alerts out."""
