"""Training with a recorder is training without one, to the last bit."""

import weakref

import pytest

from hmmdyn import MetricRecorder

torch = pytest.importorskip("torch")
from tests.record import training  # noqa: E402


def train(model, recorder=None):
    for step, loss in training.training(model):
        if recorder is not None:
            recorder.step(model, step, train_loss=loss)
    return {name: values.clone() for name, values in model.state_dict().items()}


@pytest.mark.parametrize("build", [training.conv, training.LanguageModel])
def test_weights_and_random_numbers_are_the_same_with_and_without(build, tmp_path):
    torch.manual_seed(0)
    plain, random_state = train(build()), torch.get_rng_state()
    n_threads = torch.get_num_threads()
    torch.manual_seed(0)
    with MetricRecorder(tmp_path / "run") as recorder:
        recorded = train(build(), recorder)
    assert plain.keys() == recorded.keys()
    assert all(torch.equal(plain[name], recorded[name]) for name in plain)
    assert torch.equal(random_state, torch.get_rng_state())
    assert torch.get_num_threads() == n_threads


def test_the_model_stays_as_it_is(tmp_path):
    model = training.mlp().train()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    pointers = [p.data_ptr() for p in model.parameters()]
    with MetricRecorder(tmp_path / "run") as recorder:
        recorder.record(model, 0)
    assert [p.data_ptr() for p in model.parameters()] == pointers
    assert model.training
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))


class Marker:
    """Something that can be seen to go."""


class Marked(torch.autograd.Function):
    """The identity; its node of the gradient graph keeps a marker alive."""

    @staticmethod
    def forward(ctx, x, marker):
        ctx.marker = marker
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def test_no_gradient_graph_is_kept(tmp_path):
    marker = Marker()
    is_there = weakref.ref(marker)
    model = training.mlp()
    loss = Marked.apply(model(torch.randn(4, 5)).mean(), marker)
    del marker
    assert is_there()
    with MetricRecorder(tmp_path / "run", every=2) as recorder:
        recorder.step(model, 1, train_loss=loss)
        del loss
        assert not is_there()


def test_an_outcome_is_taken_as_it_was(tmp_path):
    total = torch.tensor(1.5)
    with MetricRecorder(tmp_path / "run") as recorder:
        recorder.log(0, train_loss=total)
        total += 1  # as loops do that sum up losses
        recorder.record(training.mlp(), 1)
    text = (tmp_path / "run" / "hmmdyn-metrics.jsonl").read_text()
    assert '"train_loss": 1.5' in text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_leave_the_accelerator_one_at_a_time(tmp_path):
    model = torch.nn.Sequential(*(torch.nn.Linear(512, 512) for _ in range(8))).cuda()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with MetricRecorder(tmp_path / "run") as recorder:
        recorder.record(model, 0)
        recorder.record(model, 1)
    assert torch.cuda.max_memory_allocated() - before <= 512 * 512 * 4
    assert all(p.is_cuda for p in model.parameters())
