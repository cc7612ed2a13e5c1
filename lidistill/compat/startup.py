# SPDX-License-Identifier: Apache-2.0
"""What libraries import before anybody asks: put off until somebody does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from lidistill.compat import lazy_packages

OPTIMIZERS = "mmengine.optim.optimizer.builder"
FIGURE = ("fig_save_canvas", "fig_save", "ax_save", "dpi")
"""What mmengine's `Visualizer` makes with matplotlib when it is built."""


def leave_compiler_out(module: Any) -> None:
    """Call torch's optimizers without loading torch's compiler, where nothing is compiled.

    Some of their methods import all of it (and sympy) to say that it must not trace them or has to
    begin anew. Where it is not loaded there is nobody to tell.

    Args:
        module: ``torch.optim``.
    """
    optimizer = module.Optimizer
    for name in ("state_dict", "load_state_dict", "zero_grad", "add_param_group"):
        inner = getattr(getattr(optimizer, name), "__wrapped__", None)
        if inner is not None and not hasattr(inner, "__dynamo_disable"):
            setattr(inner, "__dynamo_disable", _kept_from_compiler(inner))
    kinds: list[Any] = list(vars(module).values())
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, optimizer) and "step" in vars(kind):
            step: Any = vars(kind)["step"]
            if getattr(getattr(step, "__code__", None), "co_name", "") == "_use_grad":
                setattr(kind, "step", _plain_step(step))  # noqa: B010 -- mypy knows no step


def _compiler() -> Any:
    """torch's compiler where it is loaded, else None."""
    compiler = sys.modules.get("torch._dynamo")
    return compiler if hasattr(compiler, "disable") else None


def _kept_from_compiler(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, kept from the compiler as soon as that is loaded."""

    def call(*args: Any, **kwargs: Any) -> Any:
        compiler = _compiler()
        if compiler is None:
            return function(*args, **kwargs)
        disabled = compiler.disable(function, True, wrapping=False)
        setattr(function, "__dynamo_disable", disabled)
        return disabled(*args, **kwargs)

    return call


def _plain_step(step: Any) -> Callable[..., Any]:
    """A step that sets the gradient mode as torch's own does, without its hints to the compiler."""

    @wraps(step)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _compiler() is not None:
            return step(self, *args, **kwargs)
        import torch

        before = torch.is_grad_enabled()
        try:
            torch.set_grad_enabled(self.defaults["differentiable"])
            return step.__wrapped__(self, *args, **kwargs)
        finally:
            torch.set_grad_enabled(before)

    return call


def late_adafactor(module: Any) -> None:
    """Register transformers' Adafactor when it is asked for; the import was hidden from mmengine.

    Args:
        module: ``mmengine.optim.optimizer.builder``.
    """

    def register() -> None:
        if "Adafactor" not in module.OPTIMIZERS.module_dict:
            module.TRANSFORMERS_OPTIMIZERS += module.register_transformers_optimizers()

    lazy_packages.register_later("Adafactor", register)


def late_figure(module: Any) -> None:
    """Make the figure of mmengine's `Visualizer` when something is drawn on it.

    Args:
        module: ``mmengine.visualization.visualizer``.
    """
    visualizer = module.Visualizer
    original = visualizer.__init__
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def init(self: Any, name: str = "visualizer", image: Any = None, *args: Any, **kw: Any) -> None:
        if image is not None:
            original(self, name, image, *args, **kw)
            return
        self._initialize_fig = lambda _: (None, _NoFigure, None)
        try:
            original(self, name, image, *args, **kw)
        finally:
            del self._initialize_fig
        for key in FIGURE:
            self.__dict__.pop(key, None)

    def missing(self: Any, key: str) -> Any:
        if key not in FIGURE or "fig_save_cfg" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {key!r}")
        self.fig_save_canvas, self.fig_save, self.ax_save = self._initialize_fig(self.fig_save_cfg)
        self.dpi = self.fig_save.get_dpi()
        return self.__dict__[key]

    visualizer.__init__ = init
    visualizer.__getattr__ = missing


class _NoFigure:
    """Stands for a figure while a visualizer is built."""

    @staticmethod
    def get_dpi() -> None:
        """Not known yet."""
