"""A compact PyTorch trainer for progressive GANs."""

__version__ = "0.1.0"
