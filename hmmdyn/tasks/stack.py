"""Networks of several seeds trained at once: their weights are stacked, and so are their steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from hmmdyn.errors import UsageError


class Stack:
    """Networks of one shape, seen as one.

    A single network is called as it is. Several become one whose tensors have an axis more
    (`torch.func`). That is meant for accelerators, where it has not been measured yet; on a CPU it
    is faster only where steps are so small that calling PyTorch takes most of them, and slower for
    large networks (``benchmarks/stacked_seeds.md``). Products of stacked matrices may be rounded
    otherwise than those of each.

    Raises
    ------
    UsageError
        Several networks hold buffers, such as the running statistics of batch normalisation, which
        cannot be stacked.
    """

    def __init__(self, networks: Sequence[torch.nn.Module], device: str) -> None:
        self._networks = [network.to(device) for network in networks]
        self._first = self._networks[0]
        self._stacked: dict[str, torch.Tensor] | None = None
        if len(networks) > 1:
            self._stacked, buffers = torch.func.stack_module_state(self._networks)
            if buffers:
                raise UsageError(
                    f"A network with {next(iter(buffers))} cannot be stacked. "
                    "Train one seed at a time."
                )

    @property
    def n_networks(self) -> int:
        """How many there are."""
        return len(self._networks)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything that training changes, in the memory that it goes on changing."""
        tensors = self._first.state_dict() if self._stacked is None else self._stacked
        return {name: tensor.detach() for name, tensor in tensors.items()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take the numbers of such tensors."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])

    def parameters(self) -> list[torch.Tensor]:
        """What an optimiser changes; several networks' tensors have their axis first."""
        return list(self._first.parameters() if self._stacked is None else self._stacked.values())

    def train(self, training: bool) -> None:
        """Say whether the networks are being trained, for layers that behave otherwise then."""
        for network in self._networks:
            network.train(training)

    def map(
        self, measure: Callable[..., torch.Tensor], inputs: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Apply ``measure(outputs, targets)`` to every network, its inputs and its targets.

        ``inputs`` and ``targets`` have the networks' axis first; so has what is returned.
        """
        if self._stacked is None:
            return measure(self._first(inputs[0]), targets[0])[None]

        def of_one(
            weights: Mapping[str, torch.Tensor], inputs: torch.Tensor, targets: torch.Tensor
        ) -> torch.Tensor:
            outputs = torch.func.functional_call(self._first, dict(weights), (inputs,))
            return measure(outputs, targets)

        mapped: torch.Tensor = torch.vmap(of_one)(self._stacked, inputs, targets)
        return mapped

    def weights(self, i: int) -> dict[str, torch.Tensor]:
        """The state of network ``i`` by name, in the memory that training goes on changing."""
        tensors = self.tensors()
        return tensors if self._stacked is None else {n: t[i] for n, t in tensors.items()}
