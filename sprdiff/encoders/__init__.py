"""The triple encoder: a frozen VAE, a distortion- and a semantic-oriented encoder, and their fusion."""
