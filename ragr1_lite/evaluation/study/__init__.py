"""Studies: one thing is varied, all else stays, and a table and a plot show the effect."""

from ragr1_lite.evaluation.study.designs import STUDIES, Design, VariantSpec, with_variants
from ragr1_lite.evaluation.study.running import SUMMARY, Outcome, Row, run_study

__all__ = ["STUDIES", "SUMMARY", "Design", "Outcome", "Row", "VariantSpec", "run_study", "with_variants"]
