"""How Studio looks: neutral greys that leave the judgement of colours to the photograph, one accent, system fonts."""

from __future__ import annotations

from importlib import resources

import gradio as gr

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def studio_theme() -> gr.themes.Base:
    """The colours, for light and dark."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.neutral,
        font=FONT,
        font_mono=MONO,
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_text_color="white",
        button_primary_background_fill_dark="*primary_400",
        button_primary_background_fill_hover_dark="*primary_300",
        button_primary_text_color_dark="*neutral_950",
    )


def studio_css() -> str:
    """The page's own CSS."""
    return resources.files("perpixel.studio").joinpath("studio.css").read_text("utf-8")
