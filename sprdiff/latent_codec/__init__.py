"""y to bytes and back: gains, hyperprior, context, entropy coding. Never sees pixels or files."""
