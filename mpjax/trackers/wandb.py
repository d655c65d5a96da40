"""Weights & Biases, online or offline as its environment variables say."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

from mpjax.errors import InputError
from mpjax.trackers.base import Session

PACKAGE = "wandb"
_WITHOUT_ACCOUNT = ("offline", "disabled", "dryrun")


def check() -> None:
    """Raises `InputError` where wandb would ask for an account."""
    wandb: Any = importlib.import_module(PACKAGE)  # not the module of this name here

    mode = wandb.setup().settings.mode
    if mode not in _WITHOUT_ACCOUNT and not wandb.api.api_key:
        raise InputError(
            "--report-to wandb has no account to report to; run wandb login, or set "
            "WANDB_MODE=offline and upload the run later with wandb sync"
        )


class _Run:
    def __init__(self, session: Session) -> None:
        wandb: Any = importlib.import_module(PACKAGE)  # not the module of this name here

        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "mpjax"),
            id=session.id,
            name=os.environ.get("WANDB_NAME", session.name),
            dir=str(session.folder),
            config=dict(session.config),
            resume="allow",
            reinit="create_new",  # members of a sweep are open together
            settings=wandb.Settings(console="off", silent=True, disable_git=True, init_timeout=60),
        )

    @property
    def held(self) -> int | None:
        # Offline, wandb does not know what it has written before.
        return self._run.step - 1 if self._run.resumed else None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step, commit=True)

    def result(self, values: Mapping[str, Any]) -> None:
        self._run.summary.update(dict(values))

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


start = _Run
