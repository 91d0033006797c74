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
        # Text of 4.5 : 1 and more on its ground, and what can be pressed of 3 : 1.
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        color_accent="*primary_700",
        link_text_color="*primary_800",
        link_text_color_hover="*primary_900",
        checkbox_background_color_selected="*primary_700",
        checkbox_background_color_selected_dark="*primary_500",
        checkbox_border_color_selected="*primary_700",
        checkbox_border_color_selected_dark="*primary_500",
        slider_color="*primary_700",
        slider_color_dark="*primary_400",
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
