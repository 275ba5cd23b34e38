"""The hub's message sets as of the visible log."""

from fc_pipeline.sample_hub.log import EventLog


class HubState:
    def follow(self, log: EventLog) -> None:
        """Take in what became visible since the last call."""
