"""The table of segments on the page: a row each, to choose it, hide it, and show it again."""

from __future__ import annotations

import gradio as gr

from perpixel.ops.overlay import label_colour
from perpixel.results.segment import Segment
from perpixel.studio.segment_view import SegmentView

NOTHING = '<p class="segments-none">No segments yet.</p>'
EMPTY = '<p class="segments-none">Nothing was found. A lower threshold finds more.</p>'

# A click on a row, or Enter on the buttons in it, tells the server the segment's id and what to do. The table is made
# anew each time, so whoever goes through it with the keyboard is put back on the button that was pressed.
SCRIPT = """
let pressed = null;
element.addEventListener('click', (event) => {
  const row = event.target.closest('tr[data-id]');
  if (!row) return;
  const button = event.target.closest('button');
  const deed = button ? button.dataset.deed : 'choose';
  pressed = button ? [row.dataset.id, deed === 'choose' ? '.choose' : '.hide'] : null;
  trigger('select', { index: Number(row.dataset.id), value: deed });
});
new MutationObserver(() => {
  if (!pressed || (document.activeElement && document.activeElement !== document.body)) return;
  const button = element.querySelector(`tr[data-id="${pressed[0]}"] ${pressed[1]}`);
  if (button) button.focus({ preventScroll: true });
}).observe(element, { childList: true, subtree: true });
"""

STYLE = """
.segments { overflow: auto; max-height: 26rem; border: 1px solid var(--border-color-primary);
  border-radius: var(--radius-lg); }
table { width: 100%; margin: 0; border-collapse: collapse; font-size: var(--text-md);
  font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: var(--background-fill-secondary); color: var(--body-text-color-subdued);
  font-weight: 600; text-align: left; white-space: nowrap; }
th, td { padding: .45rem .7rem; border: 0; border-bottom: 1px solid var(--border-color-primary); }
tr:last-child td { border-bottom: 0; }
tr[data-id] { cursor: pointer; }
tr[data-id]:hover { background: var(--background-fill-secondary); }
tr[aria-selected="true"] { background: var(--color-accent-soft); box-shadow: inset 3px 0 0 var(--color-accent); }
tr.hidden td:not(:last-child) { opacity: .5; }
.number { text-align: right; }
td.box { color: var(--body-text-color-subdued); white-space: nowrap; }
i { display: inline-block; width: .8em; height: .8em; margin-right: .5em; border-radius: 3px; vertical-align: -.05em; }
button { padding: .3rem .4rem; border: 0; border-radius: var(--radius-sm); background: none; color: inherit;
  font: inherit; text-align: left; cursor: pointer; }
button:focus-visible { outline: 2px solid var(--color-accent); outline-offset: 1px; }
button.hide { color: var(--link-text-color); }
button.hide:hover { text-decoration: underline; }
.segments-none { color: var(--body-text-color-subdued); }
@media (max-width: 640px) { .box { display: none; } th, td { padding: .45rem .4rem; } }
"""


def segment_table() -> gr.HTML:
    """The component; its event `select` has the segment's id as `index`, and "choose", "hide" or "show" as `value`."""
    return gr.HTML(
        NOTHING, css_template=STYLE, js_on_load=SCRIPT, apply_default_css=False, elem_id="segment-table", padding=False
    )


def table(view: SegmentView) -> str:
    """The rows as HTML, the largest segment first.

    Labels come from a model's files and are shown as text, whatever is in them.
    """
    if not len(view.found):
        return EMPTY
    pixels = view.found.width * view.found.height
    rows = "".join(
        _row(segment, pixels, chosen=segment.id == view.chosen, hidden=segment.id in view.hidden)
        for segment in view.found
    )
    head = (
        '<tr><th class="number">Id</th><th>Label</th><th class="number">Score</th><th class="number">Area</th>'
        '<th class="box">Box (x0, y0, x1, y1)</th><th></th></tr>'
    )
    return (
        f'<div class="segments"><table aria-label="Segments"><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
    )


def chosen_line(view: SegmentView | None) -> str:
    """One line of Markdown about the chosen segment, or about what to do."""
    if view is None:
        return ""
    if view.chosen is None:
        hidden = f" {len(view.hidden)} hidden." if view.hidden else ""
        return f"Click a segment in the picture or in the table.{hidden}" if len(view.found) else ""
    segment = next(each for each in view.found if each.id == view.chosen)
    parts = [f"score {100 * segment.score:.0f} %"] if segment.score is not None else []
    parts.append(f"{share(segment.area, view.found.width * view.found.height)} of the picture")
    return f"**{_plain(segment.label)}** · {' · '.join(parts)}"


def share(area: int, pixels: int) -> str:
    """An area in percent of the picture.

    >>> share(1, 3), share(1, 10000)
    ('33 %', '0.01 %')
    """
    percent = 100 * area / pixels
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %" if percent >= 1 else f"{percent:.2g} %"


def _row(segment: Segment, pixels: int, *, chosen: bool, hidden: bool) -> str:
    red, green, blue = label_colour(segment.label_id)
    label = _plain(segment.label)
    deed, word = ("show", "Show") if hidden else ("hide", "Hide")
    score = "–" if segment.score is None else f"{100 * segment.score:.0f} %"
    return (
        f'<tr data-id="{segment.id}" aria-selected="{str(chosen).lower()}"{" class=hidden" if hidden else ""}>'
        f'<td class="number">{segment.id}</td>'
        f'<td><button type="button" class="choose" data-deed="choose" aria-pressed="{str(chosen).lower()}">'
        f'<i style="background: rgb({red}, {green}, {blue})"></i>{label}</button></td>'
        f'<td class="number">{score}</td>'
        f'<td class="number" title="{segment.area:,} pixels">{share(segment.area, pixels)}</td>'
        f'<td class="box">{", ".join(map(str, segment.box))}</td>'
        f'<td class="number"><button type="button" class="hide" data-deed="{deed}" '
        f'aria-label="{word} {label}, segment {segment.id}">{word}</button></td></tr>'
    )


def _plain(words: str) -> str:
    """As characters that HTML, Markdown and the templates of the page can make nothing else of."""
    return "".join(f"&#{ord(sign)};" if not sign.isalnum() and sign != " " else sign for sign in words)
