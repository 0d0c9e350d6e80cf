"""The paper's ledger: its printed tables as data, and rules that its arithmetic must obey."""
