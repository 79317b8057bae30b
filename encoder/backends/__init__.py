"""Engines that run a model: token ids and mask in, embeddings out."""
