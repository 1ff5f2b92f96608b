"""The tasks of run_classifier.py by name. A new data set is a processor and a row here."""

from typing import Dict, Type

from .glue import (
    AxProcessor,
    ColaProcessor,
    MnliProcessor,
    MrpcProcessor,
    QnliProcessor,
    QqpProcessor,
    RteProcessor,
    SstProcessor,
    StsbProcessor,
    WnliProcessor,
    XnliProcessor,
)
from .own_text import TextProcessor
from .processor import DataProcessor

PROCESSORS: Dict[str, Type[DataProcessor]] = {
    "ax": AxProcessor,
    "cola": ColaProcessor,
    "mnli": MnliProcessor,
    "mrpc": MrpcProcessor,
    "qnli": QnliProcessor,
    "qqp": QqpProcessor,
    "rte": RteProcessor,
    "sst-2": SstProcessor,
    "sts-b": StsbProcessor,
    "text": TextProcessor,
    "wnli": WnliProcessor,
    "xnli": XnliProcessor,
}
