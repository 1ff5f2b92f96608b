"""The flags that say how a run learns, whatever it learns. Pure: no TensorFlow."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..optimizers import RULES
from ..schedules import DECAY_BEGINS, SCHEDULES
from ..training.engine_config import EngineConfig
from ..training.plan import DEFAULT_EPOCHS, DEFAULT_EVAL_EPOCHS, DEFAULT_WARMUP_PROPORTION, PlanConfig
from ..training.resume import RESUME_MODES

AUTO = "auto"  # the learning rate that the plan computes


class Flag(NamedTuple):
    """A row of the table. kind: string, integer, float, boolean, list, or a tuple of the values allowed.

    words: what a float may be beside a number.
    """

    name: str
    kind: Any
    default: Any
    meaning: str
    lower: Optional[float] = None
    upper: Optional[float] = None
    words: Tuple[str, ...] = ()

    @property
    def choices(self) -> Tuple[str, ...]:
        """What may be given, as help and tables show it."""
        return self.kind if isinstance(self.kind, tuple) else (self.kind, *self.words)

    @property
    def default_value(self) -> Any:
        """The default as a parsed command line has it."""
        return [item for item in self.default.split(",") if item] if self.kind == "list" else self.default


# Those of every script that reads text for a model.
VOCAB_FILE = Flag("vocab_file", "string", None, "WordPiece vocabulary, published with the checkpoint.")
BERT_CONFIG_FILE = Flag(
    "bert_config_file", "string", None, "JSON file with the model's sizes, published with the checkpoint."
)
DO_LOWER_CASE = Flag(
    "do_lower_case", "boolean", True, "Lower-case the text: true for uncased models, false for cased ones."
)
_LENGTH = [
    Flag("num_train_steps", "integer", None, "Number of updates, after which the run stops.", 1),
    Flag(
        "num_train_epochs",
        "float",
        DEFAULT_EPOCHS,
        "Passes over the training set, if num_train_steps is not given.",
        0.0,
    ),
    Flag(
        "lr_decay_steps",
        "integer",
        None,
        "Horizon of the schedule in steps, where decay ends. If not given, num_train_steps.",
        1,
    ),
    Flag("num_warmup_steps", "integer", None, "Updates during which the rate rises linearly to its peak. 0: none.", 0),
    Flag(
        "warmup_proportion",
        "float",
        DEFAULT_WARMUP_PROPORTION,
        "Warm-up as a proportion of the horizon, if num_warmup_steps is not given. 0: none.",
        0.0,
        1.0,
    ),
    Flag(
        "learning_rate",
        "float",
        PlanConfig.learning_rate,
        "Peak learning rate. auto: that at which the optimizer moves the weights as far in this run as adamw does at "
        "5e-5, which the plan computes.",
        0.0,
        words=(AUTO,),
    ),
    Flag(
        "lr_schedule", tuple(sorted(SCHEDULES)), PlanConfig.lr_schedule, "How the learning rate changes after warm-up."
    ),
    Flag(
        "end_learning_rate",
        "float",
        PlanConfig.end_learning_rate,
        "Rate at which polynomial, cosine and exponential decay end, and below which plateau does not go.",
        0.0,
    ),
    Flag("decay_power", "float", PlanConfig.decay_power, "With --lr_schedule=polynomial: the power. 1: linear.", 0.0),
    Flag(
        "decay_cycle",
        "boolean",
        PlanConfig.decay_cycle,
        "With --lr_schedule=polynomial: start the decay again at the horizon, which then doubles, triples and so on.",
    ),
    Flag(
        "decay_begin",
        DECAY_BEGINS,
        PlanConfig.decay_begin,
        "Where decay starts. zero: at step 0, as in google-research/bert, so that after a warm-up the peak is "
        "not reached; warmup_end: at the peak, when warm-up ends.",
    ),
    Flag(
        "lr_boundaries",
        "list",
        "",
        "With --lr_schedule=piecewise: steps at which the rate changes, separated by commas.",
    ),
    Flag(
        "lr_values",
        "list",
        "",
        "With --lr_schedule=piecewise: the rates, one more than lr_boundaries. They replace learning_rate.",
    ),
    Flag(
        "gradient_accumulation_steps",
        "integer",
        1,
        "Split each batch into this many parts, computed one after another, to save memory. train_batch_size "
        "must be a multiple. 1: off.",
        1,
    ),
    Flag(
        "plateau_factor",
        "float",
        PlanConfig.plateau_factor,
        "With --lr_schedule=plateau: factor by which the rate is multiplied when the dev score stops improving.",
        0.0,
        1.0,
    ),
    Flag(
        "plateau_patience",
        "integer",
        PlanConfig.plateau_patience,
        "With --lr_schedule=plateau: evaluations without improvement before the rate is reduced.",
        1,
    ),
    Flag(
        "plateau_min_delta",
        "float",
        PlanConfig.plateau_min_delta,
        "With --lr_schedule=plateau: smallest gain in best_metric that counts as an improvement.",
        0.0,
    ),
    Flag("train_batch_size", "integer", PlanConfig.train_batch_size, "Examples in each update, over all replicas.", 1),
]
_UPDATE = [
    Flag("optimizer", tuple(sorted(RULES)), "adamw", "Optimization rule; docs/optimization.md compares them."),
    Flag(
        "lookahead_steps",
        "integer",
        0,
        "Updates between synchronizations with Lookahead's slow weights. 0: off; ranger has its own, 6.",
        0,
    ),
    Flag("lookahead_alpha", "float", 0.5, "How far Lookahead's slow weights move towards the fast ones.", 0.0, 1.0),
    Flag("weight_decay_rate", "float", 0.01, "Decoupled weight decay, scaled by the learning rate. 0: off.", 0.0),
    Flag(
        "no_decay_patterns",
        "list",
        "LayerNorm,layer_norm,bias",
        "Regular expressions: variables whose names match one are not decayed.",
    ),
    Flag("momentum", "float", None, "With --optimizer=momentum or nag: the momentum; 0.9 if not given.", 0.0, 1.0),
    Flag(
        "adam_beta1",
        "float",
        None,
        "Decay rate of the average of gradients; the optimizer's own if not given.",
        0.0,
        1.0,
    ),
    Flag(
        "adam_beta2",
        "float",
        None,
        "Decay rate of the average of squared gradients; the optimizer's own if not given.",
        0.0,
        1.0,
    ),
    Flag("adam_epsilon", "float", None, "Small constant of the optimizer's denominator; its own if not given.", 0.0),
    Flag(
        "bias_correction",
        "boolean",
        None,
        "With --optimizer=adamw or lamb: correct both averages for their start at 0, as Adam does; false if not given.",
    ),
    Flag(
        "lr_multipliers",
        "list",
        "",
        "pattern=factor,…: multiplies the learning rate of variables whose names match. The first match counts.",
    ),
    Flag(
        "layerwise_lr_decay",
        "float",
        1.0,
        "Factor of the learning rate from each layer to the one below. 1: off.",
        0.0,
        1.0,
    ),
    Flag(
        "ema_decay",
        "float",
        0.0,
        "Decay rate of a moving average of the weights, which is then what is evaluated and exported. 0: off.",
        0.0,
        1.0,
    ),
    Flag("freeze", "list", "", "Regular expressions: variables whose names match one are not trained."),
    Flag(
        "unfreeze_schedule",
        "string",
        PlanConfig.unfreeze_schedule,
        "step=layers,…: from that step on, train so many layers from the top; all: with embeddings. Before the first "
        "step, the head and the pooler alone. For example 100=2,200=all.",
    ),
    Flag(
        "fgm_epsilon",
        "float",
        PlanConfig.fgm_epsilon,
        "Adversarial training: compute each batch again with each example's word embeddings moved so far along their "
        "gradient, and add both gradients. About twice the time. 0: off.",
        0.0,
    ),
    Flag(
        "clip_norm",
        "float",
        1.0,
        "Largest global norm of the gradients; larger ones are scaled down to it. 0: off.",
        0.0,
    ),
]
# Not of every script: those of classes, and of what is predicted as a distribution.
LOSS_OF_CLASSES = [
    Flag(
        "label_smoothing",
        "float",
        PlanConfig.label_smoothing,
        "Share of each label's weight that is spread over all labels in the training loss. 0: off.",
        0.0,
        1.0,
    ),
    Flag(
        "focal_gamma",
        "float",
        PlanConfig.focal_gamma,
        "Focal loss: multiply the training loss of a label of probability p by (1 - p) to this power. 0: off.",
        0.0,
    ),
]
RDROP_ALPHA = Flag(
    "rdrop_alpha",
    "float",
    PlanConfig.rdrop_alpha,
    "R-Drop: compute each batch twice with different dropout masks, and add so many times the divergence of the two "
    "predictions to the training loss. About twice the time. 0: off.",
    0.0,
)
_WEIGHTS = [
    Flag(
        "model",
        "string",
        None,
        "Folder with weights, configuration, vocabulary and case. It is a published checkpoint, a Hugging Face "
        "folder, or a run. In place of init_checkpoint, bert_config_file, vocab_file and do_lower_case (or of "
        "model_dir).",
    ),
    Flag(
        "init_checkpoint",
        "string",
        None,
        "Checkpoint to start from: a prefix such as …/bert_model.ckpt, or a folder. The folder is a run's, or Hugging "
        "Face's.",
    ),
    Flag("from_scratch", "boolean", False, "Start from random weights instead of a checkpoint."),
    Flag("output_dir", "string", None, "Folder to which this run is written."),
    Flag(
        "model_dir",
        "string",
        None,
        "Folder of a trained model to evaluate, predict or serve with; it is only read. If not given, output_dir, "
        "which serve.py does not have.",
    ),
    Flag(
        "checkpoint",
        ("best", "last"),
        None,
        "Which checkpoint of a folder to use. If not given, the best if there is one, else the last.",
    ),
    Flag(
        "resume_mode",
        RESUME_MODES,
        "auto",
        "What to do if output_dir holds a run. auto: continue exactly, or start if there is none; exact: "
        "continue or fail; fresh: start or fail; weights: a further stage, which takes the weights of a fine-"
        "tuned init_checkpoint and starts at step 0 with a plan of its own.",
    ),
    Flag("allow_plan_change", "boolean", False, "Continue although the plan differs from that of the run."),
    Flag(
        "allow_changed_files",
        "list",
        "",
        "Files of a run's folder that may differ from its manifest.json: their names, separated by commas.",
    ),
    Flag("reset_head", "boolean", False, "Start a new head if the one in init_checkpoint is for other labels."),
]
_ENGINE = [
    Flag("seed", "integer", PlanConfig.seed, "Seed of all random numbers.", 0),
    Flag(
        "shuffle",
        "boolean",
        PlanConfig.shuffle,
        "Train on a new permutation of the training set in every epoch; false: in file order.",
    ),
    Flag(
        "batching",
        ("permutation", "grouped"),
        PlanConfig.batching,
        "Which examples share a batch. permutation: those that the permutation gives; grouped: those of similar length "
        "out of each 50 batches of the permutation, which is faster.",
    ),
    Flag(
        "padding",
        ("none", "longest", "fixed"),
        "none",
        "none: compute real tokens only; longest: pad to the longest input of the batch; fixed: pad to max_seq_length.",
    ),
    Flag(
        "precision",
        ("float32", "bfloat16", "float16"),
        "float32",
        "Number format of the encoder's matrix products, and on a GPU of what stands between them; weights and sums "
        "stay float32. float16, for GPUs without bfloat16, scales the loss so that small gradients are kept.",
    ),
    Flag(
        "xla",
        "boolean",
        False,
        "Compile the graph with XLA. Needs TensorFlow 2.15 or later and padding=fixed; its random numbers "
        "differ from those without.",
    ),
    Flag(
        "compute_form",
        ("auto", "plain", "fast"),
        "auto",
        "plain: TensorFlow's stock operations; fast and auto: what is fastest on the device. The results differ by "
        "rounding, and on a GPU by where the masks of dropout fall.",
    ),
    Flag(
        "recompute",
        "boolean",
        False,
        "On a GPU: compute each layer again in the backward pass, which saves memory and takes more time.",
    ),
    Flag(
        "tf32",
        "boolean",
        True,
        "On a recent GPU: round the factors of float32 products to 10 bits. false: exact products, which are slower.",
    ),
    Flag(
        "gpu_memory_fraction",
        "float",
        0.0,
        "Share of each GPU's memory to take at the start, and the most that is used. 0: memory is taken as needed.",
        0.0,
        1.0,
    ),
    Flag("eval_batch_size", "integer", 8, "Examples in each step of evaluation, over all replicas.", 1),
    Flag("predict_batch_size", "integer", 8, "Examples in each step of prediction, over all replicas.", 1),
    Flag(
        "eval_every_steps",
        "integer",
        None,
        "Steps between evaluations during training. 0: evaluate only at the end.",
        0,
    ),
    Flag(
        "eval_every_epochs",
        "float",
        DEFAULT_EVAL_EPOCHS,
        "Epochs between evaluations in training, if eval_every_steps is not given. 0: evaluate only at the end.",
        0.0,
    ),
    Flag(
        "best_metric",
        "string",
        None,
        "Dev metric that decides which checkpoint is the best; the task's own if not given.",
    ),
    Flag(
        "early_stopping_patience",
        "integer",
        PlanConfig.early_stopping_patience,
        "Stop after this many evaluations without improvement. 0: off.",
        0,
    ),
    Flag(
        "save_checkpoints_steps",
        "integer",
        PlanConfig.save_checkpoints_steps,
        "Steps between checkpoints; another is written at the end.",
        1,
    ),
    Flag("keep_checkpoint_max", "integer", 5, "Number of checkpoints to keep besides the best, 2 at least. 0: all.", 0),
    Flag("log_every_steps", "integer", 10, "Steps between reports of the loss. 0: no reports.", 0),
    Flag(
        "log_every_secs",
        "float",
        EngineConfig.log_every_secs,
        "Seconds between reports that are lines of a log file; a terminal has a bar, and metrics.jsonl every report. "
        "0: all, as with --log_every_steps given alone.",
        0.0,
    ),
    Flag(
        "report_to",
        "list",
        ",".join(EngineConfig.report_to),
        "Where the numbers of training go besides metrics.jsonl: tensorboard, mlflow, or both with a comma; none.",
    ),
    Flag(
        "profile_steps",
        "list",
        "",
        "first,last: updates to trace, for example 10,12. Traces are written to output_dir/profile.",
    ),
    Flag(
        "engine",
        ("session", "estimator"),
        "session",
        "What trains: session, or TensorFlow's Estimator (2.15 or earlier; use_tpu selects it).",
    ),
    Flag(
        "distribution",
        ("one_device", "mirrored", "multi_worker"),
        "one_device",
        "How to use several devices. mirrored: those of this machine; multi_worker: those of the machines "
        "named in TF_CONFIG.",
    ),
    Flag("devices", "list", "", "Devices for mirrored, for example gpu:0,gpu:1. If not given, all GPUs."),
    Flag(
        "cluster_bind",
        "string",
        "",
        "With multi_worker: the address of the first machine at which it waits for the others, if the one in TF_CONFIG "
        "is translated on the way to it. 0.0.0.0: all of its addresses.",
    ),
]
_TPU = [
    Flag("use_tpu", "boolean", False, "Train on a TPU with TPUEstimator (TensorFlow 2.15 or earlier)."),
    Flag("tpu_name", "string", None, "With --use_tpu: name of the TPU."),
    Flag("tpu_zone", "string", None, "With --use_tpu: zone of the TPU."),
    Flag("gcp_project", "string", None, "With --use_tpu: Google Cloud project of the TPU."),
    Flag("master", "string", None, "With --use_tpu: address of a TensorFlow master."),
    Flag("num_tpu_cores", "integer", 8, "With --use_tpu: number of cores.", 1),
    Flag("iterations_per_loop", "integer", 1000, "With --use_tpu: steps in each call of the TPU.", 1),
]

TRAINING: Dict[str, List[Flag]] = {
    "How long, and how fast it learns": _LENGTH,
    "The update": _UPDATE,
    "Where weights come from, and continuing": _WEIGHTS,
    "Evaluation and engine": _ENGINE,
    "TPU": _TPU,
}
