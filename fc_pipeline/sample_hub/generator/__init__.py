"""A seeded log of a network that never was: any size, all kinds of events, and nothing the protocol would refuse."""

from fc_pipeline.sample_hub.generator.simulation import generate

__all__ = ["generate"]
