"""High-resolution face data sets: CelebA-HQ and its like, rebuilt into multi-resolution pyramids."""

__version__ = "0.1.0"
