"""Wires plugins and fixtures, nothing else. The devices plugin comes first: it must run before torch is imported."""

pytest_plugins = [
    "plugins.devices",
    "plugins.scheduler",
    "plugins.claims",
    "plugins.ledger",
    "plugins.evidence",
    "fixtures.trial",
]
