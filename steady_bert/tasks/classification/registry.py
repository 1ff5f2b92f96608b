"""The tasks of run_classifier.py by name. A new data set is a processor and a row here."""

from typing import Dict, Type

from .clue import (
    AfqmcProcessor,
    CmnliProcessor,
    CslProcessor,
    IflytekProcessor,
    TnewsProcessor,
    WscProcessor,
)
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
    "afqmc": AfqmcProcessor,
    "ax": AxProcessor,
    "cmnli": CmnliProcessor,
    "cola": ColaProcessor,
    "csl": CslProcessor,
    "iflytek": IflytekProcessor,
    "mnli": MnliProcessor,
    "mrpc": MrpcProcessor,
    "qnli": QnliProcessor,
    "qqp": QqpProcessor,
    "rte": RteProcessor,
    "sst-2": SstProcessor,
    "sts-b": StsbProcessor,
    "text": TextProcessor,
    "tnews": TnewsProcessor,
    "wnli": WnliProcessor,
    "wsc": WscProcessor,
    "xnli": XnliProcessor,
}
