"""Rows in Allure's vocabulary: what the pytest plugin and the report builder call."""

from editverdict.reporting.allure_results import Finished, categories, finish_results, properties
from editverdict.reporting.allure_row import (
    Attachment,
    Parameter,
    answers_csv,
    attachments,
    description,
    description_html,
    labels,
    message,
    parameters,
    status,
    status_details,
    title,
)

__all__ = [
    "Attachment",
    "Finished",
    "Parameter",
    "answers_csv",
    "attachments",
    "categories",
    "description",
    "description_html",
    "finish_results",
    "labels",
    "message",
    "parameters",
    "properties",
    "status",
    "status_details",
    "title",
]
