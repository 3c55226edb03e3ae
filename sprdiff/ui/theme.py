"""The look of the page: neutral greys, which leave the colours of pictures as they are, and one red.

Gradio's own components get the same colours and type through its theme; the rest is ``static/page.css``.
"""

from __future__ import annotations

import base64

import gradio as gr

from sprdiff.blind.study import TEMPLATES
from sprdiff.ui.parts import STATIC, static_text

FONT_FILE = STATIC / "fonts" / "archivo-latin-wdth-normal.woff2"
FONT = "Archivo"


def build_theme() -> gr.themes.Base:
    """A gradio theme without shadows, gradients and rounding, drawn with the variables of ``page.css``."""
    return gr.themes.Base(
        font=[gr.themes.Font(FONT), "Helvetica Neue", "Arial", "sans-serif"],
        font_mono=[gr.themes.Font(FONT), "sans-serif"],
        radius_size=gr.themes.sizes.radius_none,
    ).set(
        **_both("body_background_fill", "var(--ground)"),
        **_both("body_text_color", "var(--ink)"),
        **_both("body_text_color_subdued", "var(--ink-soft)"),
        **_both("background_fill_primary", "var(--sheet)"),
        **_both("background_fill_secondary", "var(--ground)"),
        **_both("block_background_fill", "transparent"),
        **_both("block_border_color", "var(--line)"),
        **_both("block_label_text_color", "var(--ink)"),
        **_both("block_title_text_color", "var(--ink)"),
        **_both("block_info_text_color", "var(--ink-soft)"),
        **_both("border_color_primary", "var(--line)"),
        **_both("input_background_fill", "var(--sheet)"),
        **_both("input_border_color", "var(--line)"),
        **_both("input_border_color_focus", "var(--ink)"),
        **_both("button_primary_background_fill", "var(--accent)"),
        **_both("button_primary_background_fill_hover", "var(--accent-strong)"),
        **_both("button_primary_text_color", "var(--on-accent)"),
        **_both("button_secondary_background_fill", "transparent"),
        **_both("button_secondary_background_fill_hover", "var(--sheet)"),
        **_both("button_secondary_border_color", "var(--line-strong)"),
        **_both("button_secondary_text_color", "var(--ink)"),
        **_both("checkbox_background_color", "var(--sheet)"),
        **_both("checkbox_background_color_selected", "var(--accent)"),
        **_both("checkbox_border_color", "var(--line-strong)"),
        **_both("checkbox_label_background_fill", "transparent"),
        **_both("checkbox_label_background_fill_selected", "transparent"),
        **_both("checkbox_label_text_color_selected", "var(--ink)"),
        **_both("color_accent_soft", "var(--sheet)"),
        color_accent="var(--accent)",
        block_border_width="0px",
        block_shadow="none",
        block_padding="0px",
        layout_gap="0px",
        button_large_padding="0.7rem 1.1rem",
        checkbox_label_padding="0px",
    )


def build_css() -> str:
    """The style sheet, with the typeface inside it, so that no address is needed to find it."""
    font = base64.b64encode(FONT_FILE.read_bytes()).decode()
    face = (
        f"@font-face{{font-family:{FONT};font-weight:100 900;font-stretch:62% 125%;font-display:swap;"
        f"src:url(data:font/woff2;base64,{font}) format('woff2')}}\n"
    )
    return face + static_text("page.css") + (TEMPLATES / "study.css").read_text(encoding="utf-8")


def _both(name: str, value: str) -> dict[str, str]:
    """The same value for light and dark: the variables change, not the theme."""
    return {name: value, f"{name}_dark": value}
