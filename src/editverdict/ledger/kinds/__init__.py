"""Kinds of rules, one module per family; every module here is read."""
