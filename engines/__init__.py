"""Pictures in, features out: bundles, preprocessing and inference engines.

Stateless by design. Nothing here knows a stream, a clock, a queue, a broker or a configuration file.
"""
