"""The diffusion model: a conditional one-step denoiser in the VAE's latent space."""
