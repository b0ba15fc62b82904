"""Writes the checkpoints in this folder with the libraries themselves, which are too large to test
with (Keras, and Flax and Orbax on JAX):

    pip install keras==3.15.1 flax==0.12.8 optax==0.2.8 orbax-checkpoint==0.12.8 h5py
    python tests/checkpoints/formats/written/write.py

Every variable is `pattern(i, shape)`, i being its number among the model's; the tests know which.
"""

import os
import shutil
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def pattern(i: int, shape: tuple[int, ...]) -> np.ndarray:
    """Values that float16 and bfloat16 hold exactly and that differ between variables."""
    return ((np.arange(np.prod(shape, dtype=int)) % 100 - 50 + i) / 4).reshape(shape)


def write_keras() -> None:
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    keras.layers.Dense(1)  # so that titles count from here on, and not the names in the file
    image = keras.Input((3, 3, 2))
    x = keras.layers.Conv2D(4, 2, name="stem")(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Reshape((4, 4))(x)
    x = keras.layers.MultiHeadAttention(2, 3)(x, x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(3)(x)
    tokens = keras.Input((2,))
    y = keras.layers.Flatten()(keras.layers.Embedding(5, 2)(tokens))
    y = keras.layers.Dense(3, use_bias=False, dtype="bfloat16")(y)
    model = keras.Model([image, tokens], keras.layers.Add()([x, y]))
    model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
    model.set_weights([pattern(i, w.shape) for i, w in enumerate(model.get_weights())])
    model.save(HERE / "model.keras")
    model.save_weights(HERE / "model.weights.h5")
    model.save(HERE / "legacy.h5")


def write_flax() -> None:
    import jax.numpy as jnp
    import orbax.checkpoint as ocp
    from flax import nnx, serialization

    params = {
        "Dense_0": {
            "kernel": jnp.asarray(pattern(0, (2, 3)), jnp.float32),
            "bias": jnp.asarray(pattern(1, (3,)), jnp.bfloat16),
        },
        "LayerNorm_0": {"scale": jnp.asarray(pattern(2, (3,)), jnp.float16)},
    }
    momentum = {"mu": {"Dense_0": {"kernel": jnp.ones((2, 3))}}}
    state = {"params": params, "step": 3, "opt_state": [momentum, {}]}
    (HERE / "checkpoint_3").write_bytes(serialization.to_bytes({**state, "loss": 0.25}))

    for name, options in (
        ("orbax_ocdbt", {}),
        ("orbax_zarr", {"use_ocdbt": False}),
        ("orbax_zarr3", {"use_zarr3": True}),
    ):
        shutil.rmtree(HERE / name, ignore_errors=True)
        ocp.PyTreeCheckpointer(**options).save(HERE / name, state)

    shutil.rmtree(HERE / "orbax_manager", ignore_errors=True)
    options = ocp.CheckpointManagerOptions(best_fn=lambda metrics: metrics["val_loss"])
    with ocp.CheckpointManager(HERE / "orbax_manager", options=options) as manager:
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), note=ocp.args.JsonSave({}))
        manager.save(10, args=items, metrics={"val_loss": 0.5})

    class Model(nnx.Module):
        def __init__(self) -> None:
            rngs = nnx.Rngs(0)
            self.out = nnx.Linear(2, 3, rngs=rngs)
            self.norm = nnx.BatchNorm(3, rngs=rngs)
            self.out.kernel.value = jnp.asarray(pattern(0, (2, 3)), jnp.float32)
            self.out.bias.value = jnp.asarray(pattern(1, (3,)), jnp.float32)

    shutil.rmtree(HERE / "orbax_nnx", ignore_errors=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(HERE / "orbax_nnx", nnx.state(Model()))


SHAPES = {"Dense_0": {"kernel": (4, 5), "bias": (5,)}, "Dense_1": {"kernel": (5, 3), "bias": (3,)}}


def gradients(step: int) -> dict[str, dict[str, np.ndarray]]:
    """What the training of `write_adam` has for gradients."""
    return {
        layer: {name: pattern(7 * step + i, shape) for i, (name, shape) in enumerate(own.items())}
        for layer, own in SHAPES.items()
    }


def write_adam() -> None:
    """A TrainState after three steps of optax's AdamW behind a clipping that never clips."""
    import jax
    import jax.numpy as jnp
    import optax
    import orbax.checkpoint as ocp
    from flax import serialization
    from flax.training.train_state import TrainState

    params = jax.tree.map(jnp.ones, SHAPES, is_leaf=lambda shape: isinstance(shape, tuple))
    optimizer = optax.chain(optax.clip_by_global_norm(1e9), optax.adamw(1e-3))
    state = TrainState.create(apply_fn=None, params=params, tx=optimizer)
    for step in range(3):
        state = state.apply_gradients(grads=jax.tree.map(jnp.float32, gradients(step)))
    (HERE / "adam_3").write_bytes(serialization.to_bytes(state))
    shutil.rmtree(HERE / "orbax_adam", ignore_errors=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(HERE / "orbax_adam", state)


if __name__ == "__main__":
    write_keras()
    write_flax()
    write_adam()
