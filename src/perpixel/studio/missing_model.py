"""What the page says where no model for a task is on this machine: how to get one."""

from __future__ import annotations

from typing import Literal

import gradio as gr

from perpixel.studio.shelf import Shelf

Task = Literal["segmentation", "depth"]  # for matting there is always the embedded one


def missing_model(shelf: Shelf, task: Task) -> gr.Markdown:
    """A note below the model picker; it is not shown where there is a model.

    Args:
        shelf: the models.
        task: what they have to be for.
    """
    offers = shelf.offers(task)
    return gr.Markdown(
        how_to_get_one(task, typed=shelf.settings.typed_models, offline=shelf.offline),
        visible=not any(offer.here for offer in offers),
        elem_id=f"missing-{task}",
    )


def how_to_get_one(task: Task, *, typed: bool, offline: bool) -> str:
    """In plain words, and with the commands.

    Args:
        task: what the model has to be for.
        typed: whether the page takes a folder or a Hub id.
        offline: whether the Hub is out of reach.
    """
    from perpixel.tasks.depth import DEFAULT_MODEL as DEPTH
    from perpixel.tasks.segmentation import DEFAULT_MODEL as SEGMENTATION

    name = {"segmentation": SEGMENTATION, "depth": DEPTH}[task]
    folder = name.rpartition("/")[2]
    there = (
        f"On a computer with a network, fetch one:\n\n```\nhf download {name} --local-dir {folder}\n```\n\n"
        f"Copy the folder here, and start Studio with it:\n\n```\nperpixel studio --model {folder}\n```"
        if offline
        else f"Choose one above, and it is downloaded when it is first used; or fetch it beforehand:\n\n"
        f"```\nhf download {name}\n```\n\nA model of your own: `perpixel studio --model FOLDER`."
    )
    what = "the folder of a model" if offline else "the folder of a model, or a Hub id,"
    own = f"\n\nOr type {what} above." if typed else ""
    return f"**There is no model for {task} on this machine yet.** {there}{own}"
