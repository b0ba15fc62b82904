"""What a path says of itself, one line per layout that people have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmmdyn.checkpoints.find.layouts import (
    NO_STEP,
    ONLY_ALIAS,
    TEMPORARY,
    Layout,
    is_companion,
    read_path,
)
from hmmdyn.errors import UsageError
from hmmdyn.names import natural_key, printable, some

# path without suffix -> group, run, seed, step, epoch; the root is called "mnist".
UNDERSTOOD = {
    "seed0/step_100": ("mnist", "seed0", 0, 100, None),
    "runs/seed0/step_100": ("mnist", "seed0", 0, 100, None),
    "seed_3/checkpoint-500/model": ("mnist", "seed_3", 3, 500, None),
    "seed-3/ckpt-1000": ("mnist", "seed-3", 3, 1000, None),
    "seed007/step_000100": ("mnist", "seed007", 7, 100, None),
    "epoch=4-step=200": ("mnist", "mnist", None, 200, 4),
    "epoch=4-step=200-v1": ("mnist", "mnist", None, 200, 4),
    "epoch=4-step=200-val_loss=0.23": ("mnist", "mnist", None, 200, 4),
    "lightning_logs/version_0/checkpoints/epoch=4-step=200": (
        "mnist",
        "version_0",
        None,
        200,
        4,
    ),
    "seed1/lightning_logs/version_0/checkpoints/epoch=4-step=200": (
        "mnist",
        "seed1",
        1,
        200,
        4,
    ),
    "seed_0-step_20k": ("mnist", "seed_0", 0, 20_000, None),
    "seed_0-step_20k/model": ("mnist", "seed_0", 0, 20_000, None),
    "multiberts-seed_0-step_20k/model": ("multiberts", "seed_0", 0, 20_000, None),
    "pythia-160m-seed2/step1000/model": ("pythia-160m", "seed2", 2, 1000, None),
    "pythia-160m-data-seed2/step1000/model": ("pythia-160m-data", "seed2", 2, 1000, None),
    "lr0.001_adamw_seed3_scaling1.0/epoch10": (
        "lr0.001_adamw_scaling1.0",
        "seed3",
        3,
        None,
        10,
    ),
    "lr=0.1,seed=3/iter_0000100": ("lr=0.1", "seed=3", 3, 100, None),
    "0/step_5": ("mnist", "0", None, 5, None),
    "multirun/2024-01-01/12-00-00/0/step_7": ("mnist", "0", None, 7, None),
    "wd0.1/0/step_5": ("wd0.1", "0", None, 5, None),
    "seed1/epoch_0010": ("mnist", "seed1", 1, None, 10),
    "runs/wd0.1/seed0/step_1": ("wd0.1", "seed0", 0, 1, None),
    "seed0/wd0.1/step_1": ("wd0.1", "seed0", 0, 1, None),
    "adam/wd0.1/seed0/checkpoints/step_1": ("adam/wd0.1", "seed0", 0, 1, None),
    "wd0.1/runA/step_1": ("wd0.1", "runA", None, 1, None),
    "step_1": ("mnist", "mnist", None, 1, None),
    "seed0_step100": ("mnist", "seed0", 0, 100, None),
    "model_seed0_step100": ("mnist", "seed0", 0, 100, None),
    "adam_seed0_step100": ("adam", "seed0", 0, 100, None),
    "step_100/seed0": ("mnist", "seed0", 0, 100, None),
    "seed0/step_1.5M": ("mnist", "seed0", 0, 1_500_000, None),
    "seed0/step_20_000": ("mnist", "seed0", 0, 20_000, None),
    "seed0/model_20000_steps": ("mnist", "seed0", 0, 20_000, None),
    "seed0/global_step1000": ("mnist", "seed0", 0, 1000, None),
    "seed0/ckpt_12_epoch_60": ("mnist", "seed0", 0, None, 60),
    "seed0/17": ("mnist", "seed0", 0, 17, None),
    "lr0.1_100epochs_seed3/0": ("lr0.1_100epochs", "seed3", 3, 0, None),
    "max_steps1000_seed3/step_10": ("max_steps1000", "seed3", 3, 10, None),
    "lr_step30_seed3/epoch_7": ("lr_step30", "seed3", 3, None, 7),
    "adam_seed0_20240101-120000/step_1": ("adam", "seed0", 0, 1, None),
    "gpt_v2_seed0/step_1": ("gpt_v2", "seed0", 0, 1, None),
    "64x64/seed0/step_1": ("64x64", "seed0", 0, 1, None),
    "seed0/best/epoch_3": ("mnist", "seed0", 0, None, 3),
    "seed0/epoch_4/step_200": ("mnist", "seed0", 0, 200, 4),
    "seed0/checkpoint-500/global_step500/x": ("mnist", "seed0", 0, 500, None),
    "step_9/tuned/seed0/step_1": ("step_9/tuned", "seed0", 0, 1, None),
    "seed0/ep1-ba500-rank0": ("mnist", "seed0", 0, 500, 1),
    "stage1-step1000-tokens5B": ("mnist", "mnist", None, 1000, None),
    "seed0/step=10-consumed_samples=256000.0-last": ("mnist", "seed0", 0, 10, None),
    "mp_rank_00/seed0/step_1": ("mnist", "seed0", 0, 1, None),
    "seed0/step_1500000000": ("mnist", "seed0", 0, 1_500_000_000, None),
}


@pytest.mark.parametrize("path", UNDERSTOOD)
def test_understood(path):
    reading = read_path(path.split("/"), "mnist")
    assert reading.problem == ""
    assert (
        reading.group,
        reading.run,
        reading.seed,
        reading.step,
        reading.epoch,
    ) == UNDERSTOOD[path]


NOT_UNDERSTOOD = {
    "seed0/model": NO_STEP,
    "0/model": NO_STEP,
    "S5_10": NO_STEP,
    "64x64": NO_STEP,
    "lr0.001": NO_STEP,
    "v2": NO_STEP,
    "timestep5": NO_STEP,
    "seed0/step_1.5": NO_STEP,
    "seed0/step_1.2345k": NO_STEP,
    "seed0/step=-1": NO_STEP,
    "seed0/step_64x64": NO_STEP,
    "seed0/step_2024-01-01": NO_STEP,
    "seed0/step_20240101": NO_STEP,
    "seed0/20240101": NO_STEP,
    "seed0/checkpoint_1704067200": NO_STEP,
    "seed0/checkpoint_2024-01-01_12-00-00": NO_STEP,
    f"seed0/step_{2**63}": NO_STEP,
    "seed0/best": ONLY_ALIAS,
    "seed0/best_model/model": ONLY_ALIAS,
    "seed0/step_100/last": ONLY_ALIAS,
    "seed0/tmp-checkpoint-500/model": TEMPORARY,
    "seed0/step_5.tmp": TEMPORARY,
    "seed0/step_1/step_2": "two different steps in its path",
    "seed0/checkpoint_12_500": "two numbers, either of which may be the step",
    "seed0/checkpoint_1/ckpt_2": "two numbers, either of which may be the step",
    "seed0/step_1_step_2": "two different steps in its path",
    "data_seed1_init_seed2/step_1": "two different seeds in its path",
    "seed0/1000/model": "a bare number beside the seed may be a step, a run or part of the recipe",
    "0/seed3/step_1": "a bare number beside the seed may be a step, a run or part of the recipe",
}


@pytest.mark.parametrize("path", NOT_UNDERSTOOD)
def test_not_understood(path):
    reading = read_path(path.split("/"), "mnist")
    assert reading.problem == NOT_UNDERSTOOD[path]
    assert reading.step is None
    assert reading.epoch is None


@pytest.mark.parametrize(
    "path", ["S5_step_1", "v5/step_1", "5/step_1", "s5/step_1", "seeds5/step_1"]
)
def test_no_seed_where_none_is_named(path):
    assert read_path(path.split("/"), "mnist").seed is None


def test_the_root_names_the_run_where_nothing_below_it_does():
    reading = read_path(["step_1"], "pythia-160m-seed2")
    assert (reading.group, reading.run, reading.seed) == ("pythia-160m", "seed2", 2)
    reading = read_path(["runA", "step_1"], "pythia-160m-seed2")
    assert (reading.group, reading.run, reading.seed) == ("pythia-160m-seed2", "runA", None)
    # An uncertain root name is no more than a name.
    reading = read_path(["step_1"], "data_seed1_init_seed2")
    assert (reading.run, reading.seed) == ("data_seed1_init_seed2", None)


def test_occasions_name_runs_only_when_asked():
    path = ["multirun", "2024-01-01", "12-00-00", "0", "step_7"]
    assert read_path(path, "mnist").occasions == ("2024-01-01", "12-00-00")
    assert read_path(path, "mnist", keep_occasions=True).group == "2024-01-01/12-00-00"
    path = ["logs", "runA", "version_3", "checkpoints", "step_1"]
    assert read_path(path, "mnist").run == "runA"
    kept = read_path(path, "mnist", keep_occasions=True)
    assert (kept.group, kept.run) == ("runA", "version_3")


@pytest.mark.parametrize(
    ("path", "format_name", "step", "epoch"),
    [
        ("100", "orbax", 100, None),
        ("100/default", "orbax", 100, None),
        ("seed1/100/default", "orbax", 100, None),
        ("100", "pytorch", None, None),
        ("20240101", "orbax", None, None),
        ("100/default/deeper", "orbax", None, None),
        ("model.05", "keras", None, 5),
        ("weights.01-0.25", "hdf5", None, 1),
        ("weights.01-0.25", "pytorch", None, None),  # a rank, a part, an ensemble's member?
        ("model.5", "keras", None, None),
        ("resnet_05", "keras", None, None),
    ],
)
def test_the_numbering_of_a_format(path, format_name, step, epoch):
    reading = read_path(path.split("/"), "mnist", format_name)
    assert (reading.step, reading.epoch) == (step, epoch)


@pytest.mark.parametrize(
    ("path", "is_part", "is_slice"),
    [
        ("iter_0000500/mp_rank_00/model_optim_rng", True, False),
        ("iter_0000500/mp_rank_00_001/model_optim_rng", True, False),
        ("mp_rank_00/step_500", True, False),
        ("step_500/rank0", True, False),
        ("step_500-shard1", True, False),
        ("step_500/consolidated.01", True, False),
        ("step_500/actor/model_world_size_8_rank_3", True, False),
        ("step_500/zero_pp_rank_0_mp_rank_00_model_states", True, True),
        ("step_500/layer_02-model_00-model_states", True, True),
        ("lora_rank4/step_500", False, False),
        ("lora_rank4_step_500", False, False),
        ("step_500", False, False),
    ],
)
def test_parts_of_a_checkpoint(path, is_part, is_slice):
    reading = read_path(path.split("/"), "mnist")
    assert (reading.step, reading.is_part, reading.is_slice) == (500, is_part, is_slice)


def test_names_that_would_break_a_terminal_are_escaped():
    reading = read_path(["seed0", "wd\x1b[31m\udcff", "step_1"], "mnist")
    assert reading.group == r"wd\x1b[31m\udcff"
    reading.group.encode()


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="/\0")), max_size=4), st.text())
def test_any_path_is_read(parts, root):
    reading = read_path(parts, root)
    if not reading.problem:
        assert reading.step is not None or reading.epoch is not None


@given(st.integers(0, 10**6), st.integers(0, 10**12))
def test_any_seed_and_step_is_read_back(seed, step):
    reading = read_path([f"wd0.1_seed{seed}", f"step_{step}"], "mnist")
    if not reading.problem:
        assert (reading.group, reading.seed, reading.step) == ("wd0.1", seed, step)
    else:  # a number that could be a date or a Unix time
        assert len(str(step)) in (8, 10)


@pytest.mark.parametrize(
    ("stem", "companion"),
    [
        ("optimizer", True),
        ("optimizer_step_100", True),
        ("step_100_optimizer", True),
        ("seed0_step100_optimizer_state", True),
        ("scheduler", True),
        ("lr_scheduler", True),
        ("rng_state_0", True),
        ("random_states_0", True),
        ("training_args", True),
        ("scaler", True),
        ("bf16_zero_pp_rank_0_mp_rank_00_optim_states", True),
        ("model", False),
        ("step_100", False),
        ("optimizer=adam_seed0_step100", False),
        ("opt-125m_step_1", False),
    ],
)
def test_companions(stem, companion):
    assert is_companion(stem) is companion


class TestLayout:
    @pytest.mark.parametrize(
        ("pattern", "path", "expected"),
        [
            (
                "{group}/seed{seed}/step_{step}.pt",
                "a/seed3/step_20.pt",
                ("a", "seed3", 3, 20, None),
            ),
            ("{run}/*/{epoch}.pt", "x/abc/7.pt", ("mnist", "x", None, None, 7)),
            ("{step}.npz", "20k.npz", ("mnist", "mnist", None, 20_000, None)),
            ("{group}-{run}/e{epoch}_s{step}.pt", "a-b/e1_s2.pt", ("a", "b", None, 2, 1)),
            ("s{seed}/s{seed}_{step}.pt", "s1/s1_5.pt", ("mnist", "seed1", 1, 5, None)),
            ("{run}/checkpoint-{step}/", "x/checkpoint-5", ("mnist", "x", None, 5, None)),
            ("a{{b}}_{step}.pt", "a{b}_5.pt", ("mnist", "mnist", None, 5, None)),
            ("[ab]+_{step}.pt", "[ab]+_5.pt", ("mnist", "mnist", None, 5, None)),
        ],
    )
    def test_fits(self, pattern, path, expected):
        assert Layout(pattern).read(path, "mnist")[:5] == expected

    @pytest.mark.parametrize(
        ("pattern", "path"),
        [
            ("seed{seed}/{step}.pt", "a/seed3/20.pt"),  # the whole path counts
            ("*/{step}.pt", "a/b/20.pt"),  # * stays within a name
            ("s{seed}/s{seed}_{step}.pt", "s1/s2_5.pt"),
            ("{step}.pt", "x5.pt"),
            ("{step}.pt", "5xpt"),
            ("{step}.pt", "1.2345k.pt"),
        ],
    )
    def test_does_not_fit(self, pattern, path):
        assert Layout(pattern).read(path, "mnist") is None

    @pytest.mark.parametrize(
        ("pattern", "message"),
        [
            ("{sead}/{step}.pt", r"\{sead\} is not a placeholder.*\{seed\}"),
            ("{}/{step}.pt", "not a placeholder"),
            ("{step!r}.pt", "not a placeholder"),
            ("{step:3}.pt", "not a placeholder"),
            ("{step.pt", "cannot be read"),
            ("step}.pt", "cannot be read"),
            ("{seed}/model.pt", r"add \{step\} or \{epoch\}"),
        ],
    )
    def test_refused(self, pattern, message):
        with pytest.raises(UsageError, match=message):
            Layout(pattern)


def test_natural_order():
    names = ["seed10", "seed2", "a", "10", "9", "seed02"]
    assert sorted(names, key=lambda name: (natural_key(name), name)) == [
        "9",
        "10",
        "a",
        "seed02",
        "seed2",
        "seed10",
    ]


def test_words_for_messages():
    assert printable("ünï 3") == "ünï 3"
    assert printable("a\nb") == r"a\nb"
    assert some(["a", "b"]) == "a, b"
    assert some(map(str, range(7)), 3) == "0, 1, 2, … 7 in all"
