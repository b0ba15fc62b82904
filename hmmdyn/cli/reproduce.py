"""``hmmdyn reproduce``: train one of the paper's tasks; a command for each."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup


class _Tasks(TyperGroup):
    """A command for each task; the tasks are loaded when one, or their list, is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        self._load()
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        self._load()
        return super().get_command(ctx, cmd_name)

    def _load(self) -> None:
        if not self.commands:
            from hmmdyn.cli.training import tasks

            self.commands.update(typer.main.get_group(tasks).commands)


reproduce = typer.Typer(
    cls=_Tasks,
    help="Train one of the paper's tasks, or one beside them, with several seeds (needs PyTorch).",
    no_args_is_help=True,
)
