"""Rows as people read them: terminal, static summary, cards, plots, CSV, LaTeX, Allure. Nothing is computed here."""
