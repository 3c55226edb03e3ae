"""The distortion-aware reconstruction module: a coarse picture from y_hat, and two conditions from that."""
