"""Sliced Wasserstein distance between Laplacian-pyramid patches of two image sets (Karras et al. 2018, sec. 5).

Legend used below: N images, R side of the finest level, r side of a level, P patches per image and level,
K = 147 values of a descriptor (3 channels x 7 x 7), D directions, rows = N * P descriptors of a level.
"""
