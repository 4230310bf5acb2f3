"""The operations of 2016 whose results have changed since, exact to the last bit.

jpeg8d   JPEG decoding of IJG's libjpeg 8d
plan     geometry of a face, with the casting rules of NumPy 1.x
lanczos  Pillow 3.1.1's 8-bit LANCZOS
quad     Pillow 3.1.1's QUAD transform, fused with the reduction that follows it
padding  mirrored margin, Gaussian blur of SciPy 0.19 and fade to the median

Each operation exists twice: compiled with numba, and in plain NumPy where numba is not installed. Both give
the same bits; neither lets the compiler fuse a multiplication with an addition.
"""
