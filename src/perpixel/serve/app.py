"""The application: the models over HTTP, and Studio beside them."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer

import perpixel
from perpixel.serve.guard import Guard, Pages
from perpixel.serve.metrics import Metrics
from perpixel.serve.problems import Refusal
from perpixel.serve.routes import add_routes, route_name
from perpixel.serve.service import Service
from perpixel.serve.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from perpixel.studio.door import Refused

ABOUT = """Cut-outs, segments and depth of photographs.

A request is a form with the field `image`, and `options` as JSON with the names of the Python functions. The answer is
a PNG or JSON, by `Accept`. Nothing is fetched from other servers, and no file of this one is read or named.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Make the application; the models are loaded when it starts.

    Args:
        settings: models and limits; the embedded model with the defaults if not given.

    Returns:
        what uvicorn, or another server of ASGI, runs; its `state` has the `service` and the open `pages`.

    Raises:
        CheckpointError: a model is not there, or is for no task.
        InputError: two models would have the same name.

    >>> app = create_app(Settings(studio=False))
    >>> app.title
    'perpixel'
    """
    settings = settings or Settings()
    metrics = Metrics()
    service = Service(settings, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.stop()

    app = FastAPI(
        title="perpixel",
        version=perpixel.__version__,
        description=ABOUT,
        # Its pages load scripts from elsewhere; /openapi.json is enough for every such page.
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        # Checked by the guard, before routes are looked for; here it is only told.
        dependencies=[Depends(HTTPBearer(auto_error=False))] if settings.token else [],
    )
    app.state.service, app.state.pages = service, Pages()
    add_routes(app, service)
    studio = _studio(service) if settings.studio and has_studio() else None
    app.add_middleware(Guard, settings=settings, metrics=metrics, route=route_name, pages=app.state.pages)
    if studio is not None:
        from perpixel.studio.app import mount_studio

        mount_studio(app, studio, max_file_size=settings.max_upload, answer=_refuse)
    return app


def _refuse(refused: Refused) -> ASGIApp:
    raise Refusal(refused.status, refused.kind, refused.message)


def has_studio() -> bool:
    """Whether the extra `studio` is installed."""
    return importlib.util.find_spec("gradio") is not None


def _studio(service: Service) -> Any:
    from perpixel.serve.people import studio_settings
    from perpixel.studio.app import create_studio

    return create_studio(studio_settings(service))
