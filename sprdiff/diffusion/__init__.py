"""The diffusion model: a conditional denoiser in the VAE's latent space and its samplers."""
