"""`perpixel studio`: the page in the browser."""

from typing import Annotated

import typer

from perpixel.cli import arguments as given
from perpixel.errors import MissingDependencyError


def studio(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 takes any free one.", show_default=True)
    ] = 7860,
    host: Annotated[
        str, typer.Option(help="Who may open the page; 0.0.0.0 is everybody in your network.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="A Hub id or a folder to offer first; may be repeated.", show_default=False),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Offer only models that are on this machine.")] = False,
    device: given.Device = None,
) -> int:
    """Cut out, segment and measure depth in the browser. Photographs stay on this machine.

    It runs until Ctrl-C.
    """
    import importlib.util

    if importlib.util.find_spec("gradio") is None:
        raise MissingDependencyError('Studio needs Gradio, which is not installed: pip install "perpixel[studio]"')
    import perpixel

    perpixel.tune_allocator(many_sizes=True)  # before torch is imported
    from perpixel.studio.run import run_studio
    from perpixel.studio.settings import StudioSettings

    local = host in ("127.0.0.1", "localhost", "::1")
    settings = StudioSettings(models=tuple(model or ()), device=device, offline=offline or None, typed_models=local)
    run_studio(settings, host=host, port=port, browser=browser, say=typer.echo)
    return 0
