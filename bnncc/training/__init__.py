"""Training: the nn graph as a PyTorch module, and the loop around it. The only room that imports torch."""
