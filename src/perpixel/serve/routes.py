"""The server's addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from perpixel.errors import PerpixelError
from perpixel.serve import schemas
from perpixel.serve.answers import WHATS, accepted_form, checked_what
from perpixel.serve.problems import ClientGone, Refusal, refusal_of
from perpixel.serve.service import Service
from perpixel.serve.upload import read_form
from perpixel.serve.work import FIELDS, OPTIONS, Route, read_options

if TYPE_CHECKING:
    from pydantic import BaseModel

TASKS: dict[Route, tuple[str, type[BaseModel]]] = {
    "cutout": ("Cut the subject out: a PNG with transparency, or its alpha as JSON.", schemas.MatteAnswer),
    "matte": ("Estimate the alpha in a trimap's unknown pixels: a grey PNG, or JSON.", schemas.MatteAnswer),
    "segment": ("Tell what is where: an overlay as PNG, or the segments as JSON.", schemas.SegmentsAnswer),
    "depth": ("Estimate how far each pixel is: a grey PNG of 16 bits, or JSON.", schemas.DepthAnswer),
}
PICTURES = {
    "image": "The photograph: JPEG, PNG, WebP, TIFF and others.",
    "trimap": "Of the image's size: 255 is foreground, 0 background, 128 unknown.",
    "mask": "A rough picture of the subject, white on black, of the image's size.",
}
ERRORS = {
    400: "The body is no form.",
    401: "The token is missing or wrong.",
    404: "There is no model for this task.",
    406: "Neither a PNG nor JSON is accepted.",
    408: "The upload took too long.",
    413: "The body or a picture is too large.",
    415: "No form, or a file that is no picture.",
    422: "A field, an option or a picture cannot be used.",
    429: "The queue is full; Retry-After tells when to come again.",
    500: "The server failed.",
    503: "The models are being loaded.",
    504: "The work took too long.",
}


def add_routes(app: FastAPI, service: Service) -> None:
    """Add all addresses, and the one shape of errors, to an application."""
    router = APIRouter(prefix="/v1")
    for route in TASKS:
        _add_task(router, route, service)

    @router.get("/models", response_model=schemas.ModelsAnswer, summary="The models that requests may name.")
    async def models() -> Any:
        return {
            "models": [
                {
                    "name": model.name,
                    "task": model.task,
                    "default": model is service.models.default(model.task),
                    "licence": model.licence,
                    "labels": model.labels,
                }
                for model in service.models.all
            ]
        }

    app.include_router(router)
    _add_probes(app, service)
    _add_strangers(app)
    _add_errors(app)


def route_name(path: str) -> str:
    """The path's name in metrics and of few kinds, whatever clients ask for.

    >>> route_name("/v1/cutout"), route_name("/v1/../etc"), route_name("/assets/index.js")
    ('/v1/cutout', 'other', 'other')
    """
    known = {f"/v1/{name}" for name in (*TASKS, "models")} | {"/healthz", "/readyz", "/metrics", "/openapi.json", "/"}
    return path if path in known else "other"


def _add_task(router: APIRouter, route: Route, service: Service) -> None:
    summary, model = TASKS[route]
    picture = {"schema": {"type": "string", "format": "binary"}}
    retry = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    responses: dict[int | str, dict[str, Any]] = {}
    for status, words in ERRORS.items():
        responses[status] = {"description": words, "model": schemas.ErrorAnswer}
        if status in (429, 503):
            responses[status]["headers"] = retry
    responses[200] = {"description": "The result.", "model": model, "content": {"image/png": picture}}
    shows = Query(None, description=_what_words(route), json_schema_extra={"enum": list(WHATS[route])})

    async def task(request: Request, what: str | None = shows) -> Response:
        service.check_ready()
        form = accepted_form(request.headers.get("accept"))
        shown = checked_what(route, what)
        service.check_room()
        upload = await read_form(request, FIELDS[route], service.held)
        try:
            options = read_options(route, upload.fields.get("options", b""))
            with service.place():
                done = await service.work(upload, options, form, shown, request)
        finally:
            upload.release()
        return Response(done.body, media_type=done.form, headers={**done.headers, "Vary": "Accept"})

    router.add_api_route(
        f"/{route}",
        task,
        methods=["POST"],
        name=route,
        operation_id=route,
        summary=summary,
        response_class=Response,
        responses=responses,
        openapi_extra={"requestBody": _form_schema(route)},
    )


def _what_words(route: Route) -> str:
    return f"What a PNG shows; {WHATS[route][0]} if not given. JSON holds all."


def _form_schema(route: Route) -> dict[str, Any]:
    """The multipart form of a task, for OpenAPI."""
    options = OPTIONS[route].model_json_schema(ref_template="#/components/schemas/{model}")
    parts = options.pop("$defs", {})
    fields: dict[str, Any] = {}
    for name in FIELDS[route]:
        if name == "options":
            fields[name] = _inlined(options, parts)
        else:
            fields[name] = {"type": "string", "format": "binary", "description": PICTURES[name]}
    needed = [name for name, always in FIELDS[route].items() if always]
    schema = {"type": "object", "required": needed, "properties": fields, "additionalProperties": False}
    encoding = {"options": {"contentType": "application/json"}}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema, "encoding": encoding}}}


def _inlined(schema: Any, parts: dict[str, Any]) -> Any:
    """Without references: what is given beside the routes' own types is not among OpenAPI's components."""
    if isinstance(schema, list):
        return [_inlined(each, parts) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(parts[schema["$ref"].rpartition("/")[2]], parts)
    return {name: _inlined(value, parts) for name, value in schema.items()}


def _add_probes(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", response_model=schemas.Health, summary="Whether the process lives.")
    async def healthz() -> Any:
        return {"status": "ok"}

    @app.get(
        "/readyz",
        response_model=schemas.Health,
        summary="Whether the models are loaded.",
        responses={503: {"description": ERRORS[503], "model": schemas.ErrorAnswer}},
    )
    async def readyz() -> Any:
        service.check_ready()
        return {"status": "ready"}

    @app.get("/metrics", summary="Counters for Prometheus.", response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_strangers(app: FastAPI) -> None:
    """What else begins as the interface for programs, so that Studio, mounted at `/`, is not asked for it."""

    async def stranger(request: Request) -> Response:
        allowed = {"/v1/models": "GET", **{f"/v1/{route}": "POST" for route in TASKS}}.get(request.url.path)
        if allowed is None:
            raise Refusal(404, "not_found", "there is nothing at this address: /openapi.json tells what there is")
        raise Refusal(405, "method_not_allowed", f"this address takes {allowed}", {"Allow": allowed})

    for path in ("/v1", "/v1/{rest:path}"):
        app.add_route(path, stranger, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])


def _add_errors(app: FastAPI) -> None:
    async def refused(request: Request, error: Exception) -> Response:
        told = refusal_of(error)
        if told is None:
            raise error
        body = told.body(request.scope["state"]["request_id"])
        return Response(body, told.status, dict(told.headers), media_type="application/json")

    async def gone(request: Request, error: Exception) -> Response:
        raise ClientGone from error

    async def other(request: Request, error: Exception) -> Response:
        problem = cast(HTTPException, error)
        kind = {404: "not_found", 405: "method_not_allowed"}.get(problem.status_code, "refused")
        refusal = Refusal(problem.status_code, kind, str(problem.detail), problem.headers or {})
        return await refused(request, refusal)

    async def invalid(request: Request, error: Exception) -> Response:
        first = cast(RequestValidationError, error).errors()[0]
        return await refused(request, Refusal(422, "input", f"{first['loc'][-1]}: {first['msg']}"))

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(PerpixelError, refused)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(HTTPException, other)
    app.add_exception_handler(RequestValidationError, invalid)
