"""Data sets: found offline or downloaded, checked against the published hashes, never unpickled."""

from bnncc.data.dataset import Dataset, Split, split_off
from bnncc.data.load import DATASET_NAMES, load_dataset

__all__ = ["DATASET_NAMES", "Dataset", "Split", "load_dataset", "split_off"]
