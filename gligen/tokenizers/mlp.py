"""The network at the end of every tokenizer: in -> hidden -> SiLU -> hidden -> SiLU -> out."""

from torch import nn

__all__ = ["token_mlp"]


def token_mlp(in_dim: int, hidden_dim: int, out_dim: int) -> nn.Sequential:
    """MLP of equation 5 of arXiv 2301.07093; its layers with weights are 0, 2 and 4."""
    return nn.Sequential(
        nn.Linear(in_dim, hidden_dim),
        nn.SiLU(),
        nn.Linear(hidden_dim, hidden_dim),
        nn.SiLU(),
        nn.Linear(hidden_dim, out_dim),
    )
