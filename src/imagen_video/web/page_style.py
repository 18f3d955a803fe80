"""How the page looks, and the script of its upload field. Nothing is loaded from elsewhere."""

from __future__ import annotations

from gradio.themes import Base, Soft

CSS = """
.iv-head h1 { font-size: 1.6rem; margin: 0; }
.iv-head p, .iv-count, .iv-idle { color: var(--body-text-color-subdued); margin: .2rem 0; }
.iv-status { padding: .2rem 0; }
.iv-status span, .iv-status small { color: var(--body-text-color-subdued); }
.iv-notice { color: #b42318; border: 1px solid #b4231866; border-radius: 8px; padding: .5rem .8rem;
  overflow-wrap: anywhere; }
.iv-failed b { color: #b42318; }
.iv-bar { height: 8px; border-radius: 4px; background: var(--border-color-primary);
  overflow: hidden; margin: .4rem 0; }
.iv-bar i { display: block; height: 100%; background: var(--color-accent); transition: width .8s; }
.iv-prompt { margin: .3rem 0; overflow-wrap: anywhere; }
.iv-stages, .iv-gallery { display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); margin: .6rem 0; }
.iv-gallery { grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); }
.iv-card { margin: 0; border: 1px solid var(--border-color-primary); border-radius: 8px;
  overflow: hidden; background: var(--background-fill-primary); text-align: left; padding: 0;
  font: inherit; color: inherit; display: flex; flex-direction: column; }
button.iv-card { cursor: pointer; }
button.iv-card:hover { border-color: var(--color-accent); }
.iv-card video, .iv-card img, .iv-blank { width: 100%; aspect-ratio: 5 / 3; object-fit: cover;
  display: block; image-rendering: pixelated; background: #8882; }
.iv-card figcaption, .iv-card > span { display: block; padding: .4rem .6rem; font-size: .85rem;
  overflow-wrap: anywhere; }
.iv-card > span small { display: block; }
.iv-card small { color: var(--body-text-color-subdued); white-space: nowrap; }
.iv-card > span small { white-space: normal; }
.iv-runs .iv-blank { animation: iv-pulse 1.4s ease-in-out infinite; }
@keyframes iv-pulse { 50% { background: #8886; } }
.iv-large video { width: 100%; max-height: 70vh; border-radius: 8px; background: #000; }
.iv-details { display: grid; gap: 1.2rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); }
.iv-details a { margin-right: .8rem; }
.iv-table { border-collapse: collapse; font-size: .9rem; margin: .6rem 0; border: none !important; }
.iv-table tr, .iv-table th, .iv-table td { border: none !important;
  padding: .15rem 1rem .15rem 0 !important; text-align: left; vertical-align: top; }
.iv-table th { font-weight: 500; color: var(--body-text-color-subdued) !important;
  white-space: nowrap; }
.iv-table td { overflow-wrap: anywhere; }
.iv-drop { display: block; border: 2px dashed var(--border-color-primary); border-radius: 8px;
  padding: 1.2rem; text-align: center; }
@media (prefers-reduced-motion: reduce) { .iv-runs .iv-blank { animation: none; } }
"""

# The file goes to our own route as it is: no name, no form. `trigger` tells the server-side event.
UPLOAD_SCRIPT = """
const field = element.querySelector('input');
const note = element.querySelector('p');
field.addEventListener('change', async () => {
  const file = field.files[0];
  if (!file) return;
  const most = Number(element.querySelector('[data-most]').dataset.most);
  if (file.size > most) {
    note.textContent = 'The file is too large: at most ' + Math.floor(most / 1e6) + ' MB.';
    trigger('upload', { id: '' });
    return;
  }
  note.textContent = 'Uploading ...';
  let answer;
  try {
    const response = await fetch('api/uploads', { method: 'POST', body: file,
      headers: { 'Content-Type': 'application/octet-stream' } });
    answer = await response.json();
  } catch (error) {
    answer = { error: 'the upload was refused or cut off' };
  }
  if (answer.error) {
    note.textContent = answer.error;
    trigger('upload', { id: '' });
    return;
  }
  const length = answer.seconds ? ', ' + answer.seconds.toFixed(1) + ' s' : '';
  note.textContent = 'Uploaded: ' + answer.height + 'x' + answer.width + length + '.';
  trigger('upload', { id: answer.id });
});
"""

OPEN_SCRIPT = """
element.addEventListener('click', (event) => {
  const card = event.target.closest('[data-open]');
  if (card) trigger('click', { id: card.dataset.open });
});
"""


def theme() -> Base:
    """Return colours and fonts; the fonts are the machine's own."""
    soft = Soft(
        primary_hue="teal",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["monospace"],
    )
    return soft.set(
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_padding="0",
        block_title_text_color="*neutral_600",
        block_title_text_color_dark="*neutral_300",
        block_title_text_weight="500",
        input_border_width="1px",
        input_border_color="*neutral_200",
    )
