"""The replica's state as metrics, for Prometheus: what there is to know, where it is read, how it is served."""
