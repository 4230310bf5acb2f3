"""Multi-scale structural similarity (Wang et al. 2003) between random pairs of one set: its diversity."""
