"""The triple encoder: a frozen VAE, a distortion-oriented and a semantic-oriented encoder, and their fusion."""
