"""The commands of ``vqwatch``, one module each."""
