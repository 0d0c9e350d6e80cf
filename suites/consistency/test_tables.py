"""The paper's arithmetic: can what its tables print hold together?"""

from plugins.ledger import Holding


def test_printed_numbers_hold_together(audited: Holding) -> None:
    audited.must_hold()
