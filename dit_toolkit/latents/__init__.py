"""The latent store: what an autoencoder made of a dataset, in one file for each split and a manifest."""
