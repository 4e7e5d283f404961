"""Networks: their layers, cost, session, checkpoints and model folder."""
