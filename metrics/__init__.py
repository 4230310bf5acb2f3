"""Metrics for generative image models, each with its protocol and noise floor."""

__version__ = "0.1.0"
