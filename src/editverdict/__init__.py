"""Claims about knowledge editing of language models, put on trial."""

__version__ = "0.1.0"
