"""Building blocks that know nothing of codecs or diffusion."""
