"""Offline work: data, distortions, features, models, the study and the bundled model."""
