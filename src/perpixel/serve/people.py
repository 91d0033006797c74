"""Studio's work beside that of programs: people have the same queue, the same line before the models, the same time."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

from perpixel.errors import PerpixelError
from perpixel.serve.problems import Refusal
from perpixel.serve.service import Service
from perpixel.serve.work import MEMORY
from perpixel.studio.settings import StudioSettings
from perpixel.studio.work import Stop


def studio_settings(service: Service) -> StudioSettings:
    """Studio with the models and the limits of a server.

    Args:
        service: of the server.
    """
    settings = service.settings

    def loaded(name: str) -> Any:
        return next((model.loaded for model in service.models.all if model.source == name), None)

    async def work(asked: Callable[[Stop], Any]) -> Any:
        stop = Stop()
        context = contextvars.copy_context()  # in which Gradio knows whom to tell of progress
        try:
            return await service.in_turn(lambda: context.run(asked, stop))
        except Refusal as refusal:
            words = {
                429: f"the server is busy: try again in {refusal.headers.get('Retry-After')} seconds",
                504: f"this took longer than the {settings.timeout:g} seconds that there are for it: try a smaller "
                "picture, or come again when fewer people are here",
            }
            raise PerpixelError(words.get(refusal.status, refusal.message)) from None
        finally:
            stop.ask()

    return StudioSettings(
        models=settings.models,
        device=settings.device,
        offline=True,
        loaded=loaded,
        work=work,
        at_once=settings.queue,
        max_pixels=settings.max_pixels,
        max_memory=settings.max_memory or (MEMORY if settings.device in (None, "cpu") else None),
    )
