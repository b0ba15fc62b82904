"""Metrics of attention, of a cyclic embedding and of Adam's state, against plain references."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmmdyn.checkpoints.heads import Head
from hmmdyn.checkpoints.parameters import DEFAULT_RULES, ParameterRules
from hmmdyn.metrics.measure import measure
from hmmdyn.metrics.registry import select_metrics
from hmmdyn.metrics.summary import Embedding
from hmmdyn.metrics.tally import Part
from hmmdyn.metrics.whole import adam_of, logit_norm
from hmmdyn.record.live import live_weights
from hmmdyn.record.recorder import MetricRecorder

# Attention

WIDTH, INPUTS, HEADS = 3, 12, 4  # queries and keys of all heads are as wide as the inputs


def made(n=HEADS, seed=0):
    """Queries and keys, each of shape (heads, width, inputs)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, WIDTH, INPUTS)), rng.normal(size=(HEADS, WIDTH, INPUTS))


def plainly(queries, keys):
    """Largest singular value of W_Qᵀ W_K / √d for every head, by the whole product."""
    return [
        np.linalg.svd(q.T @ k, compute_uv=False)[0] / np.sqrt(len(q))
        for q, k in zip(queries, keys, strict=True)
    ]


def flat(heads):
    return heads.reshape(-1, INPUTS)


def side_by_side(q, k):
    return np.concatenate([flat(q), flat(k), flat(q) + 1])  # queries, keys, values


def head_by_head(q, k):
    return np.stack([q, k, q + 1], axis=1).reshape(-1, INPUTS)


def pair(prefix, query, key, how, leaf=".weight"):
    return lambda q, k: {f"{prefix}{query}{leaf}": how(q), f"{prefix}{key}{leaf}": how(k)}


LAYOUTS = {
    "BERT": pair("bert.encoder.layer.0.attention.self.", "query", "key", flat),
    "Llama": pair("model.layers.0.self_attn.", "q_proj", "k_proj", flat),
    "T5": pair("encoder.block.0.layer.0.SelfAttention.", "q", "k", flat),
    "Flax BERT": pair(
        "encoder.layer.0.attention.self.", "query", "key", lambda h: flat(h).T, ".kernel"
    ),
    "GPT-2": lambda q, k: {"h.0.attn.c_attn.weight": side_by_side(q, k).T},
    "nanoGPT": lambda q, k: {"transformer.h.0.attn.c_attn.weight": side_by_side(q, k)},
    "torch.nn": lambda q, k: {"layers.0.self_attn.in_proj_weight": side_by_side(q, k)},
    "timm": lambda q, k: {"blocks.0.attn.qkv.weight": side_by_side(q, k)},
    "GPT-NeoX": lambda q, k: {"layers.0.attention.query_key_value.weight": head_by_head(q, k)},
}
SELF_TOLD = {
    "TransformerLens": pair(
        "blocks.0.attn.", "W_Q", "W_K", lambda h: h.transpose(0, 2, 1), leaf=""
    ),
    "Flax": pair("layers_0.attn.", "query", "key", lambda h: h.transpose(2, 0, 1), ".kernel"),
    "a tensor per head": lambda q, k: {
        f"layers.0.{kind}.{i}": head
        for kind, heads in (("query", q), ("key", k))
        for i, head in enumerate(heads)
    },
}


def measured(folder, tensors, *, metrics=("attention",), config=None, **rules):
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    np.savez(folder / "step_1.npz", **tensors)
    return measure(folder / "step_1.npz", metrics, ParameterRules(**rules), by=("layer",))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_heads_are_told_by_the_configuration_or_by_a_rule(tmp_path, layout):
    queries, keys = made()
    expected = plainly(queries, keys)
    tensors = LAYOUTS[layout](queries, keys)
    for told in ({"heads": HEADS}, {"config": {"num_attention_heads": HEADS}}):
        found = measured(tmp_path, tensors, **told)
        assert found.problems == {}
        assert found.metrics["attention_logit"] == pytest.approx(np.mean(expected), rel=1e-10)
        assert found.metrics["attention_logit_max"] == pytest.approx(max(expected), rel=1e-10)


@pytest.mark.parametrize("layout", SELF_TOLD)
def test_heads_that_have_an_axis_of_their_own(tmp_path, layout):
    queries, keys = made()
    found = measured(tmp_path, SELF_TOLD[layout](queries, keys))
    assert found.metrics["attention_logit_max"] == pytest.approx(max(plainly(queries, keys)))
    assert found.metrics["attention_logit"] == pytest.approx(np.mean(plainly(queries, keys)))


def test_several_queries_share_a_key(tmp_path):
    queries, keys = made(n=2 * HEADS)
    expected = np.mean(plainly(queries, np.repeat(keys, 2, axis=0)))
    found = measured(tmp_path, LAYOUTS["Llama"](queries, keys), heads=2 * HEADS)
    assert found.metrics["attention_logit"] == pytest.approx(expected)
    fused = np.concatenate([flat(queries), flat(keys), flat(keys)])
    told = {"num_attention_heads": 2 * HEADS, "num_key_value_heads": HEADS}
    found = measured(tmp_path, {"layers.0.self_attn.qkv_proj.weight": fused}, config=told)
    assert found.metrics["attention_logit"] == pytest.approx(expected)


def test_layers_have_values_of_their_own(tmp_path):
    first, second = made(), made(seed=1)
    tensors = {
        **LAYOUTS["Llama"](*first),
        **{n.replace("layers.0", "layers.1"): w for n, w in LAYOUTS["Llama"](*second).items()},
    }
    found = measured(tmp_path, tensors, heads=HEADS)
    for layer, heads in (("model.layers.0", first), ("model.layers.1", second)):
        part = found.parts[Part("layer", layer)]
        assert part["attention_logit_max"] == pytest.approx(max(plainly(*heads)))
    assert found.metrics["attention_logit"] == pytest.approx(
        np.mean([*plainly(*first), *plainly(*second)])
    )


@pytest.mark.parametrize(
    ("tensors", "told", "reason"),
    [
        (
            LAYOUTS["BERT"](*made()),
            {},
            "is told neither by its shape .* say it: heads=N, --heads N",
        ),
        (LAYOUTS["timm"](*made()), {}, "blocks.0.attn.qkv.weight has is told neither"),
        (LAYOUTS["BERT"](*made()), {"config": ["?"]}, "is told neither"),
        (LAYOUTS["BERT"](*made()), {"config": {"n_head": "4"}}, "is told neither"),
        (LAYOUTS["BERT"](*made()), {"heads": 5}, "12 rows of .*query.weight are not those of 5"),
        (LAYOUTS["timm"](*made()), {"heads": 7}, "rows of .* are not those of 7 heads"),
        ({"fc1.weight": np.eye(3)}, {}, "no weights of queries and keys were recognised"),
        ({"attn.q_proj.weight": np.eye(3)}, {"heads": 1}, "q_proj.weight goes with no keys"),
    ],
)
def test_where_heads_cannot_be_known_it_says_so(tmp_path, tensors, told, reason):
    found = measured(tmp_path, tensors, metrics=("attention", "l2"), **told)
    assert np.isnan(found.metrics["attention_logit"])
    assert np.isfinite(found.metrics["l2"])
    for name in ("attention_logit", "attention_logit_max"):
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError(found.problems[name])


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 4.0]), st.integers(1, 6), st.integers(1, 6))
@settings(deadline=None, max_examples=50)
def test_what_does_not_change_logits_changes_no_metric_of_them(seed, factor, width, inputs):
    """Neurons in another order, a rotation within the head, the transpose; and scale squares."""
    rng = np.random.default_rng(seed)
    query, key = rng.normal(size=(2, width, inputs))
    expected = logit_norm(Head("", query, key))
    columns = rng.permutation(inputs)
    rotation = np.linalg.qr(rng.normal(size=(width, width)))[0]
    alike = [
        Head("", query[:, columns], key[:, columns]),
        Head("", rotation @ query, rotation @ key),
        Head("", key, query),
    ]
    assert [logit_norm(one) for one in alike] == pytest.approx([expected] * 3, rel=1e-9)
    scaled = logit_norm(Head("", factor * query, factor * key))
    assert scaled == pytest.approx(factor**2 * expected, rel=1e-9)


# Fourier


def frequencies_plainly(values):
    """Norm of each frequency by inner products with its cosine and its sine, both of norm 1."""
    n = len(values)
    found = []
    for k in range(1, n // 2 + 1):
        waves = [wave(2 * np.pi * k * np.arange(n) / n) for wave in (np.cos, np.sin)]
        waves = [w / np.linalg.norm(w) for w in waves if np.linalg.norm(w) > 1e-9]
        found.append(np.sqrt(sum(np.square(w @ values).sum() for w in waves)))
    return np.array(found)


def gini_plainly(x):
    return np.abs(x[:, None] - x[None, :]).mean() / (2 * x.mean())


@pytest.mark.parametrize("modulus", [7, 12, 113])
def test_frequencies_of_an_embedding(tmp_path, modulus):
    rng = np.random.default_rng(modulus)
    values = rng.normal(size=(modulus + 1, 5))  # the last row is no number
    tensors = {"embed.weight": values, "pos_embed": rng.normal(size=(3, 5)), "fc.weight": np.eye(5)}
    found = measured(tmp_path, tensors, metrics=("fourier",), cyclic=modulus)
    norms = frequencies_plainly(values[:modulus])
    assert found.problems == {}
    np.testing.assert_allclose(Embedding(values[:modulus]).frequency_norms, norms, rtol=1e-9)
    assert found.metrics["fourier_gini"] == pytest.approx(gini_plainly(norms), rel=1e-9)
    power = np.sort(norms**2)[::-1]
    fewest = next(n for n in range(1, 99) if power[:n].sum() >= 0.9 * power.sum())
    assert found.metrics["key_frequencies"] == fewest


def test_an_embedding_of_three_frequencies_has_three(tmp_path):
    x, rng = np.arange(31), np.random.default_rng(0)
    waves = [wave(2 * np.pi * k * x / 31) for k in (3, 7, 11) for wave in (np.cos, np.sin)]
    values = np.transpose(waves) @ np.linalg.qr(rng.normal(size=(8, 8)))[0][:6]
    gini, key = (m.function(Embedding(values)) for m in select_metrics(["fourier"]))
    assert key == 3
    assert gini == pytest.approx(1 - 3 / 15)  # 3 of 15 frequencies, all alike


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 4.0]), st.integers(3, 12))
@settings(deadline=None, max_examples=50)
def test_what_does_not_change_frequencies_changes_no_metric_of_them(seed, factor, modulus):
    """Neurons in another order, a rotation, another first number, another scale."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(modulus, 4))
    alike = [
        values[:, rng.permutation(4)],
        values @ np.linalg.qr(rng.normal(size=(4, 4)))[0],
        np.roll(values, int(rng.integers(modulus)), axis=0),
        values[::-1],
        factor * values,
    ]
    for metric in select_metrics(["fourier"]):
        expected = metric.function(Embedding(values))
        found = [metric.function(Embedding(one)) for one in alike]
        assert found == pytest.approx([expected] * len(alike), rel=1e-9)


@pytest.mark.parametrize("metric", select_metrics(["fourier"]), ids=lambda m: m.name)
@pytest.mark.parametrize("values", [np.zeros((5, 2)), np.ones((5, 2)), np.full((5, 2), np.nan)])
def test_an_embedding_of_nothing_is_a_number_or_nan(metric, values):
    assert isinstance(metric.function(Embedding(values)), float)


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({}, "cyclic=P, --cyclic P"),
        ({"cyclic": 50}, "no embedding has 50 rows or more"),
        ({"cyclic": 3}, r"embed.weight, pos_embed has 3 rows or more; leave all but one out"),
    ],
)
def test_where_no_embedding_is_known_to_be_cyclic_it_says_so(tmp_path, rules, reason):
    tensors = {
        "embed.weight": np.ones((8, 2)),
        "pos_embed": np.ones((3, 2)),
        "fc.weight": np.eye(5),
    }
    found = measured(tmp_path, tensors, metrics=("fourier",), **rules)
    assert np.isnan(found.metrics["fourier_gini"])
    assert reason in found.problems["fourier_gini"]
    found = measured(tmp_path, tensors, metrics=("fourier",), cyclic=3, exclude=("pos_embed",))
    assert found.problems == {}


# The state of an optimizer


def adam_plainly(moments):
    m, v = (np.concatenate([pair[i].ravel() for pair in moments]) for i in (0, 1))
    return {
        "first_moment": np.linalg.norm(m),
        "second_moment": np.linalg.norm(v),
        "effective_step": np.mean(np.abs(m) / (np.sqrt(v) + 1e-8)),
    }


@pytest.fixture
def trained():
    """A network after three steps of Adam, its optimizer, and the moments it has."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().sum().backward()
        optimizer.step()
    state = optimizer.state_dict()["state"].values()
    moments = [(s["exp_avg"].double().numpy(), s["exp_avg_sq"].double().numpy()) for s in state]
    return model, optimizer, moments


def test_the_state_of_adam_beside_a_model(tmp_path, trained):
    torch = pytest.importorskip("torch")
    model, optimizer, moments = trained
    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 3}
    torch.save(saved, tmp_path / "step_3.pt")
    found = measure(tmp_path / "step_3.pt", ["optimizer", "paper"], DEFAULT_RULES)
    assert found.problems == {}
    for name, expected in adam_plainly(moments).items():
        assert found.metrics[name] == pytest.approx(expected, rel=1e-6), name
    torch.save(model.state_dict(), tmp_path / "model.pt")
    alone = measure(tmp_path / "model.pt", ["paper"], DEFAULT_RULES)
    assert alone.metrics == {name: found.metrics[name] for name in alone.metrics}


def test_the_state_of_adam_in_the_folder_of_a_checkpoint(tmp_path, trained):
    torch = pytest.importorskip("torch")
    model, optimizer, moments = trained
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    found = measure(tmp_path, ["optimizer"], DEFAULT_RULES)
    for name, expected in adam_plainly(moments).items():
        assert found.metrics[name] == pytest.approx(expected, rel=1e-6), name


def test_the_state_of_optax(tmp_path):
    rng = np.random.default_rng(0)
    m, v = rng.normal(size=(2, 4, 3))
    tensors = {
        "params.fc.kernel": np.ones((4, 3)),
        "opt_state.0.mu.fc.kernel": m,
        "opt_state.0.nu.fc.kernel": v**2,
        "opt_state.0.count": np.int32(3),
    }
    found = measured(tmp_path, tensors, metrics=("optimizer",))
    assert found.metrics == pytest.approx(adam_plainly([(m, v**2)]))


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({}, "holds no moments of Adam"),
        ({"opt.mu.w": np.ones(3), "opt.nu.w": np.ones(4)}, "moments of opt.mu.w are of two shapes"),
    ],
)
def test_where_there_is_no_state_it_says_so(tmp_path, tensors, reason):
    found = measured(tmp_path, {"w1": np.eye(3), **tensors}, metrics=("optimizer",))
    assert np.isnan(found.metrics["effective_step"])
    assert reason in found.problems["effective_step"]


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 4.0]))
@settings(deadline=None, max_examples=20)
def test_the_step_of_adam_does_not_depend_on_the_scale_of_gradients(seed, factor):
    rng = np.random.default_rng(seed)
    m, v, order = rng.normal(size=12), 1 + rng.random(12), rng.permutation(12)
    for c, at in ((factor, slice(None)), (1.0, order)):
        held = live_weights({"opt.mu.w": c * m[at], "opt.nu.w": c**2 * v[at]}).checkpoint
        expected = adam_plainly([(m, v)])["effective_step"]
        assert adam_of(held).step == pytest.approx(expected, rel=1e-6)


def test_a_recorder_has_heads(tmp_path):
    queries, keys = made()
    tensors = LAYOUTS["BERT"](queries, keys)
    with MetricRecorder(
        tmp_path / "seed0", metrics=["attention"], rules=ParameterRules(heads=HEADS)
    ) as recorder:
        recorder.record(tensors, 0)
    row = json.loads((tmp_path / "seed0" / "hmmdyn-metrics.jsonl").read_text().splitlines()[0])
    assert row["attention_logit_max"] == pytest.approx(max(plainly(queries, keys)))
    with MetricRecorder(  # the rules are read again
        tmp_path / "seed0", metrics=["attention"], rules=ParameterRules(heads=HEADS)
    ) as recorder:
        assert recorder.last_step == 0
