"""The network: encoder, head, loss, and how a model is saved."""
