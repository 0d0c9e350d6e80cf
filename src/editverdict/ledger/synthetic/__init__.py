"""Tables of the paper's shapes that are consistent by construction: raw quantities first, what is printed second."""

from editverdict.ledger.synthetic.draft import consistent

__all__ = ["consistent"]
