"""Alerts: whoever FC_ALERT_URLS names is told once when something turns red or yellow, and once when it is over."""
