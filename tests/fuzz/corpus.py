"""All cases."""

from tests.fuzz import corpus_control, corpus_files, corpus_graphs, corpus_sizes, corpus_tensors
from tests.fuzz.case import CORPUS

__all__ = ["CORPUS", "corpus_control", "corpus_files", "corpus_graphs", "corpus_sizes", "corpus_tensors"]
