"""Reports: training runs and evaluations on one self-contained page, or as Markdown for a README or a model card."""

from ragr1_lite.evaluation.report.page import write_report

__all__ = ["write_report"]
