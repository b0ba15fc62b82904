"""What columns of logs are called: the one dictionary of their roles, for every reader.

A column tells when a row was logged (a step, an epoch), whose it is (a run, a seed, a group), or on
which part of the data; it counts time or work; it is an outcome, the spread of one, or a metric. A
name tells by its words, whatever their case and separators: ``trainer/global_step``,
``AverageEpRet``. Every name here is one that a logger or a published table uses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache

from hmmdyn.names import normalise_column

# Columns that count steps, best first; each may stand in a family of its logger (``time/``, …).
_STEPS = (
    "global_step",
    "step",
    "_step",
    "steps",
    "total_timesteps",  # Stable-Baselines3
    "totalenvinteracts",  # Spinning Up
    "timesteps",
    "timestep",
    "timesteps_total",  # RLlib
    "env_steps",
    "environment_steps",
    "num_env_steps",
    "env_step",
    "num_steps",
    "n_steps",
    "total_steps",
    "total_step",
    "train_steps",
    "training_step",
    "training_steps",
    "current_step",
    "step_num",  # MLPerf
    "global_iteration",
    "global_iter",
    "iteration",
    "iterations",
    "training_iteration",  # Ray Tune
    "iter",
    "iters",
    "it",
    "num_updates",  # fairseq
    "n_updates",
    "updates",
    "update",
    "batch",
    "batch_idx",
    "minibatch",
    "checkpoint",
    "ckpt",
    "revision",  # of a model on a hub: step1000
)
_EPOCHS = ("epoch", "epochs", "current_epoch", "epoch_num")
# Amounts of data: they stand for steps where nothing else counts them.
_AMOUNTS = (
    "tokens",
    "n_tokens",
    "num_tokens",
    "tokens_seen",
    "total_tokens",
    "consumed_tokens",
    "samples",
    "n_samples",
    "num_samples",
    "samples_seen",
    "samples_count",
    "consumed_samples",
    "examples",
    "examples_seen",
    "images_seen",
    "frames",
    "env_frames",
)
# What training may be counted in.
STEP_UNITS = ("step", "sample", "token", "epoch")
_FAMILIES = r"(?:(?:trainer|train|training|time|timers|charts|rollout|progress|global|log)_)?"
_RUNS = (
    "run",
    "run_id",
    "run_name",
    "run_uuid",
    "name",
    "trial",
    "trial_id",
    "trial_name",
    "experiment_name",
    "exp_name",
)
_SEED = re.compile(
    r"_?(?:(?:meta|random|rng|global|manual|base|main|torch|train|training|trial|run|model|exp|config"
    r"|cfg|args|params?|hparams|hyperparameters|trainer)_)*seed"
)
_GROUPS = ("group", "group_name", "recipe", "condition", "experiment_group")
# What runs are told apart by where no group is told and their rows would contradict each other.
_RECIPES = (
    "task",
    "task_name",
    "dataset",
    "dataset_name",
    "env",
    "env_id",
    "env_name",
    "environment",
    "game",
    "algo",
    "algorithm",
    "method",
    "agent",
    "policy",
    "model",
    "model_name",
    "model_size",
    "arch",
    "architecture",
    "optimizer",
    "optimiser",
    "variant",
    "setting",
    "config",
    "config_name",
    "exp",
    "experiment",
    "ablation",
    "treatment",
    "lr",
    "learning_rate",
    "weight_decay",
    "wd",
    "width",
    "depth",
    "batch_size",
)
_SPLIT_COLUMNS = (
    "mode",
    "split",
    "split_name",
    "phase",
    "subset",
    "stage",
    "partition",
    "data_split",
    "dataset",
    "set",
)
_INDICES = re.compile(
    r"unnamed:_?[0-9]+(?:_[0-9]+)?(?:_level_[0-9]+)?|index|level_[0-9]+|__index_level_[0-9]+__|"
)
_PROVENANCE = ("mtime_ns", "path", "size")  # of hmmdyn's own tables
_OF_FILES = re.compile(r"(?:file|checkpoint|ckpt|disk)_?size(?:_(?:k|m|g)?b(?:ytes)?)?")

_PLAIN_LOSS = re.compile(
    r"(?:lm|ce|total|mean|avg|average|cross|entropy|crossentropy|epoch|batch|step)"
    r"|loss|perplexity|ppl|nll|xent|error|err|r?mse|mae|bpb|bpc|wer|cer"
)
_TRAINING = re.compile(r"train(?:ing)?|train(?:loss|acc|accuracy|error)")
_HELD_OUT = re.compile(
    r"(?:eval(?:uation)?|test(?:ing)?|val(?:id|idation)?|dev|holdout|heldout)"
    r"(?:loss|acc|accuracy|error)?"
)

# A column is an outcome when a word of its name says so, and no word says otherwise.
_LOWER_IS_BETTER = re.compile(
    r".*loss(?:es)?|.*perplexity|.*error|ppl|err|nll|xent|crossentropy|r?mse|n?mae|mape|wer|cer"
    r"|bpb|bpc|bpd|bits(?:per)?(?:byte|char|dim)|fid|kid|lpips|eer|ece|brier|hd95|hausdorff|chamfer"
    r"|regret|smape|rmsd|mpjpe|fail(?:s|ed|ure|ures|urerate)?|(?:crash|collision)(?:es|s|rate)?"
    r"|misclassification|hinge|falsepositiverate|fpr[0-9]*|fnr|der|mcd"
)
_HIGHER_IS_BETTER = re.compile(
    r".*accurac(?:y|ies)|(?:train|val|valid|test|eval)?acc(?:norm|@?[0-9]+)?|bacc|top@?[0-9]+"
    r"|prec@?[0-9]+|r@[0-9]+"
    r"|(?:micro|macro)?f[1-9]|scores?|rew(?:ards?)?|returns?|epret|eprew|episoderewards?|auc|auroc"
    r"|auprc|rocauc|prauc|bleu[0-9]?|rouge.*|meteor|cider|chrf|spice|m?iou|jaccard|dice|psnr"
    r"|m?ssim|r2|precision|recall|correct|exactmatch|success(?:es)?(?:rate)?|solve[dr]?rate"
    r"|win(?:ning)?rate|passrate|pass@?[0-9]+|(?:precision|recall|ndcg|map|mrr|hits?|hr)@?[0-9]+"
    r"|ndcg|mrr|mcc|kappa|specificity|sensitivity|spearmanr?|pearsonr?|kendall(?:tau)?|elo|elbo"
    r"|loglikelihood|likelihood|hitrate|solved|passed|tpr|truepositiverate|corrcoef|sacrebleu|panopticquality|pq"
    r"|si_?sdr|sisdr|sdr|stoi|pesq|lddt|gdtts|fitness"
    # Benchmarks by name, of which a column holds the score.
    r"|mmlu|hellaswag|piqa|winogrande|boolq|openbookqa|obqa|sciq|gsm8k|humaneval|mbpp|truthfulqa"
    r"|triviaqa|commonsenseqa|csqa|lambada|arceasy|arcchallenge|bbh|logiqa|blimp|mnli|qnli|qqp|mrpc"
    r"|sst2|copa|wsc"
)
# Short words that may mean something else: outcomes only where the other words are neutral.
_SHORT_LOWER = re.compile(r"ce|cost|kl_loss|bce|is_loss")
_SHORT_HIGHER = re.compile(r"m?ap(?:[0-9]+|[sml])?|ret|em|ll|ar|qwk")
_NEUTRAL = re.compile(
    r"average|avg|mean|ep|episodic|episode|mid|final|best|s|m|l|bbox|box|segm|seg|mask|coco|metrics?"
    r"|metric|b|[0-9]+|smooth|ema|raw|score|rollout"
)
_NEGATIVE = re.compile(r"neg(?:ative)?|minus")  # as neg_elbo, neg_mean_squared_error
_NOT_AN_OUTCOME = re.compile(
    r"scale|scaler|scaling|seconds?|secs?|time|runtime|duration|lr|norms?|coef|coefficient|weights?"
    r"|len|length|threshold"
)
_JOINED = (  # words that are one
    (r"cross[-_ /]?entropy", "crossentropy"),
    (r"exact[-_ ]?match", "exactmatch"),
    (r"bits?[-_ ]?per[-_ ]?(byte|char|dim)(?:acter|ension)?s?", r"bitsper\1"),
    (r"acc[-_ ](?:per[-_ ])?norm(?![a-z])", "accnorm"),
    (r"(success|win|pass|solved?|hit)[-_ ]?rate", r"\1rate"),
    (r"log[-_ ]?likelihood", "loglikelihood"),
    (r"(fail(?:ure)?|crash|collision)[-_ ]?rate", r"\1rate"),
    (r"top[-_ ]?([0-9]+)", r"top\1"),
    (r"fid[-_ ]?[0-9]+k?(?![a-z0-9])", "fid"),
    (r"r(?:\^|\*\*)2(?![0-9])", "r2"),
    (r"arc[-_ ](easy|challenge)", r"arc\1"),
    (r"si[-_ ]sdr", "sisdr"),
    (r"gdt[-_ ]ts", "gdtts"),
    (r"(true|false)[-_ ]positive[-_ ]rate", r"\1positiverate"),
    (r"panoptic[-_ ]quality", "panopticquality"),
    (r"(?:tok|token|it|iter|sample|step|ex|example|img|image|seq|frame)s?/s(?:ec)?$", "throughput"),
)
_SPREAD = re.compile(
    r"std|stdev|stddev|sd|var|variance|min|max|iqr|low|high|lower|upper|se|ci|ci[0-9]+|quantile"
    r"|q[0-9]+|p[0-9]+|median_abs_dev"
)
_ERROR_BAR = re.compile(r"stderr|sem|confint|conf_int")
_CLOCK = re.compile(
    r"seconds?|secs?|sec|times?|time(?:elapsed|stamps?)|timestamps?|runtime|duration|elapsed"
    r"|walltime|wall|clock|eta|fps|ips|sps|throughput|ms|minutes?|hours?|days?|latency|datetime|date"
    r"|mtime"
)
# What the machine did: its load, memory, power, heat.
_MACHINE = re.compile(r"system|gpus?|cpus?|ram|vram|cuda|rss|mfu|hfu|watts?")
_MEMORY = re.compile(
    r"(?:peak|max|used?|usage|util(?:ization)?|alloc(?:ated)?|reserved|device|host|percent|total)?_?"
    r"mem(?:ory)?_?(?:usage|used|util|allocated|reserved|percent)?_?(?:[kmg]i?b)?"
)
_TIME_ALONE = re.compile(r"(?:time|t)(?=_?mix)")  # a layer's name, not a clock
_WORK = re.compile(
    r"steps?|timesteps?|iters?|iterations?|epochs?|batch(?:es)?|updates?|episodes?|samples?"
    r"|examples?|tokens?|images?|frames?|interacts|totalenvinteracts|rollouts?|preemption|flos"
    r"|t?flops|gflops|minibatch(?:es)?|sequences?|queries|requests"
)
_OF_WORK = re.compile(
    r"n|num|nb|number|of|no|count|counts|counter|total|cumulative|accumulated|seen|consumed"
    r"|processed|trained|global|current|env|environment|optimizer|optimiser|gradient|train(?:ing|er)?"
    r"|val(?:id|idation)?|test|eval(?:uation)?|time|charts|rollout|idx|index|id|size|per|since"
    r"|restore|progress|this|sampled|agent|so|far"
)
_TWO_WORDS = (
    r"(learning|weight|loss|grad|exploration|clip|eps|ent|entropy|kl|vf|value)[-_ /]?"
    r"(rates?|decay|scale|range|greedy|coef(?:f|ficient)?(?![a-z]))"
)
_SCHEDULE = re.compile(
    r"lr|lrs|learningrate|learningrates|weightdecay|wd|momentum|lossscale|gradscale|warmup|dropout"
    r"|epsgreedy|explorationrate|cliprange|(?:ent(?:ropy)?|kl|vf|value)coef(?:f|ficient)?"
)


def step_rank(name: str) -> int | None:
    """How well a column of this name counts steps, 0 the best; None where it does not."""
    return _rank(name, _STEPS)


def epoch_rank(name: str) -> int | None:
    """How well a column of this name counts epochs, 0 the best; None where it does not."""
    return _rank(name, _EPOCHS)


def amount_rank(name: str) -> int | None:
    """How well a column of this name counts the data seen, 0 the best; None where it does not."""
    return _rank(name, _AMOUNTS)


def amount_unit(name: str) -> str:
    """What a column that counts the data seen counts, as one of :data:`STEP_UNITS`."""
    words = set(_words(name))
    if words & {"token", "tokens"}:
        return "token"
    return "step" if words & {"frame", "frames"} else "sample"


def tells_time(name: str) -> bool:
    """Whether a column of this name can tell when a row was logged."""
    return any(rank(name) is not None for rank in (step_rank, epoch_rank, amount_rank))


def run_rank(name: str) -> int | None:
    """How well a column of this name names runs, 0 the best; None where it does not."""
    name = normalise_column(name)
    return _RUNS.index(name) if name in _RUNS else None


def is_seed(name: str) -> bool:
    """Whether a column of this name holds seeds."""
    return _SEED.fullmatch(normalise_column(name)) is not None


def is_group(name: str) -> bool:
    """Whether a column of this name names recipes."""
    return normalise_column(name) in _GROUPS


def is_recipe(name: str) -> bool:
    """Whether runs may differ by a column of this name: a model, an optimiser, a task, …."""
    return normalise_column(name) in _RECIPES


def names_split(name: str) -> bool:
    """Whether a column of this name says which part of the data a row is about."""
    return normalise_column(name) in _SPLIT_COLUMNS


def is_split(word: str) -> bool:
    """Whether a word is a part of the data: ``train``, ``val``, …."""
    word = word.strip().lower()
    return any(p.fullmatch(word) is not None for p in (_TRAINING, _HELD_OUT)) and not re.search(
        "loss|acc|error", word
    )


def is_index(name: str) -> bool:
    """Whether a column of this name is the number of a row, as saved with a frame."""
    return _INDICES.fullmatch(normalise_column(name)) is not None


def is_provenance(name: str, others: Iterable[str]) -> bool:
    """Whether a column tells of a checkpoint's file, as in tables that hmmdyn exports.

    ``size`` and ``path`` may be anybody's; beside ``mtime_ns`` they are hmmdyn's.
    """
    if _OF_FILES.fullmatch(normalise_column(name)):
        return True
    return name in _PROVENANCE and "mtime_ns" in set(others)


def is_clock(name: str) -> bool:
    """Whether a column of this name tells the time or a speed rather than the state of a model."""
    words = _words(name)
    if any(map(_TIME_ALONE.match, words)) or re.search(r"time[-_ ]?mix", name.lower()):
        return False
    whole = normalise_column(name)
    return _any(_CLOCK, words) or "per_second" in whole or whole in ("t", "dt")


def is_of_the_machine(name: str) -> bool:
    """Whether a column of this name tells what the machine did: its load, memory, power, heat."""
    words = _words(name)
    of_memory = _MEMORY.fullmatch("_".join(words)) is not None
    return (of_memory or _any(_MACHINE, words)) and not is_outcome(name)


def is_counter(name: str) -> bool:
    """Whether a column of this name counts work done: steps, samples, episodes, ….

    Every word must say so: ``dead_tokens`` may be a metric. The length of episodes counts, too.
    """
    words = _words(name)
    if re.search(r"ep(?:isode)?_?len(?:gth)?s?", "_".join(words)):
        return True
    return _any(_WORK, words) and all(
        _WORK.fullmatch(word) or _OF_WORK.fullmatch(word) for word in words
    )


def is_schedule(name: str) -> bool:
    """Whether a column of this name is set by the recipe: a learning rate, …."""
    joined = re.sub(_TWO_WORDS, r"\1\2", name.lower())
    return _any(_SCHEDULE, _words(joined)) and not _any(_HIGHER_IS_BETTER, _words(joined))


def is_spread(name: str) -> bool:
    """Whether a column of this name is the spread of an outcome: ``acc_stderr``, ``StdEpRet``."""
    words = _words(name)
    if name.lower().endswith(("__min", "__max")) or _any(_ERROR_BAR, words):
        return True
    without = [word for word in words if not _SPREAD.fullmatch(word)]
    return len(without) < len(words) and _says_outcome(without)


def is_outcome(name: str) -> bool:
    """Whether a column of this name is an outcome (loss, accuracy, …) rather than a metric."""
    words = _words(name)
    return (
        _says_outcome(words)
        and not _any(_NOT_AN_OUTCOME, words)
        and not is_spread(name)
        and "per_second" not in normalise_column(name)
    )


def is_accuracy(name: str) -> bool:
    """Whether an outcome is an accuracy."""
    return any(
        word in ("acc", "accnorm", "exactmatch") or word.endswith(("accuracy", "accuracies"))
        for word in _words(name)
    )


def better_side(name: str) -> str:
    """``below`` where lower is better (loss, error), ``above`` for everything else."""
    words = _words(name)
    below = _any(_LOWER_IS_BETTER, words) or _any(_SHORT_LOWER, words)
    negative = _any(_NEGATIVE, words) and "nll" not in words
    return "below" if below != negative else "above"


def data_split(name: str) -> str:
    """``eval`` for an outcome on held-out data, ``train``, or empty where the name is silent."""
    words = _words(name)
    if _any(_HELD_OUT, words):
        return "eval"
    return "train" if _any(_TRAINING, words) else ""


def is_plain_loss(name: str) -> bool:
    """Whether an outcome is what training lowers, by name: a loss, and of what data at most.

    Others may be meant to rise, as progress measures are, or to go either way, as a policy's loss.
    """
    words = _words(name)
    told = [w for w in words if not (_TRAINING.fullmatch(w) or _HELD_OUT.fullmatch(w))]
    return all(_PLAIN_LOSS.fullmatch(word) for word in told) and better_side(name) == "below"


def _rank(name: str, known: tuple[str, ...]) -> int | None:
    spelled = {normalise_column(name), "_".join(_words(name))}  # globalStep, too
    if not any(map(_one_of(known).fullmatch, spelled)):
        return None
    for rank, one in enumerate(known):
        if any(re.fullmatch(_FAMILIES + re.escape(one), spelling) for spelling in spelled):
            return rank
    return None


@cache
def _one_of(known: tuple[str, ...]) -> re.Pattern[str]:
    """Match any of these names: of a table's many columns hardly one has a rank."""
    return re.compile(f"{_FAMILIES}(?:{'|'.join(map(re.escape, known))})")


def _says_outcome(words: list[str]) -> bool:
    if _any(_LOWER_IS_BETTER, words) or _any(_HIGHER_IS_BETTER, words):
        return True
    return any(
        (_SHORT_LOWER.fullmatch(word) or _SHORT_HIGHER.fullmatch(word))
        and all(
            _NEUTRAL.fullmatch(other) or _TRAINING.fullmatch(other) or _HELD_OUT.fullmatch(other)
            for other in words[:i] + words[i + 1 :]
        )
        for i, word in enumerate(words)
    )


@lru_cache(maxsize=1 << 15)
def _split_words(name: str) -> tuple[str, ...]:
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name).lower()
    for pattern, word in _JOINED:
        spaced = re.sub(pattern, word, spaced)
    return tuple(word for word in re.split(r"[^a-z0-9@]+", spaced) if word)


def _words(name: str) -> list[str]:
    """Words between separators or before a capital: ``evalLoss/top-1`` -> eval loss top 1."""
    # ``mAP`` is one word of three letters, ``AverageEpRet`` three words.
    joined = re.sub(
        r"(?<![A-Za-z])(m?(?:AP[sml]?|IoU)|nDCG)(?=[^a-z]|$)", lambda m: m[1].lower(), name
    )
    return list(_split_words(joined))


def _any(pattern: re.Pattern[str], words: Iterable[str]) -> bool:
    return any(map(pattern.fullmatch, words))
