"use strict";
// Nothing of the text becomes markup: it is decoded from base64 and set as text. Only what is near the screen is drawn.
const $ = (id) => document.getElementById(id);
const bytesOf = (text) => Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
const held = (id) => { const text = $(id).textContent; $(id).remove(); return text; };
const make = (tag, className = "", text = "") => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
};
const meta = JSON.parse(new TextDecoder().decode(bytesOf(held("meta"))));
const ids = new Uint32Array(bytesOf(held("ids")).buffer);
const off = new Float32Array(bytesOf(held("off")).buffer), on = new Float32Array(bytesOf(held("on")).buffer);
const blocks = held("blocks").split("\n");
const count = ids.length, heads = meta.layers.length * meta.heads;
const vocabulary = meta.vocabulary.map((each) => Uint8Array.from(each, (one) => one.charCodeAt(0)));
const gain = (i) => off[i] - on[i];
const number = (value, digits = 2) => value.toFixed(digits).replace("-", "\u2212");
const whole = (value) => value.toLocaleString("en");
const percent = (value) => value > 0 && value < 0.0005 ? "<0.1 %" : `${(100 * value).toFixed(value < 0.0995 ? 1 : 0)} %`;
const documentOf = (i) => { let d = 0; while (meta.starts[d + 1] <= i) d++; return d; };
const level = (i) => {
  const value = gain(i), steps = meta.steps.filter((step) => Math.abs(value) >= step).length;
  return steps ? (value > 0 ? "s" : "c") + steps : "";
};

// Text ------------------------------------------------------------------------------------------------------------

function textOf(from, to) {
  const parts = [];
  for (let i = from; i < to; i++) parts.push(...vocabulary[ids[i]]);
  return new TextDecoder().decode(Uint8Array.from(parts));
}

const HIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/gu;
const spelled = (text) => text.replace(HIDDEN, (each) => `<U+${each.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}>`);
const shown = (text) => spelled(text).replace(/\n/g, "\u21b5").replace(/\t/g, "\u21e5");
const named = (i) => { const text = textOf(i, i + 1); return text.trim() ? shown(text) : shown(text).replace(/ /g, "\u2423") || "\u2205"; };

function around(i, before, after, marked = "mark") {
  const d = documentOf(i), made = make("span", "around");
  const from = Math.max(meta.starts[d] + 1, i - before), to = Math.min(meta.starts[d + 1], i + 1 + after);
  const short = (a, b) => shown(textOf(a, b)).replace(/ {3,}/g, "  ");
  made.append(short(from, i), make(marked, "", named(i)), short(Math.min(i + 1, to), to));
  return made;
}

// Drawing ---------------------------------------------------------------------------------------------------------

const chunks = [], text = $("text");
const FEW = 250, MANY = 900;
const begins = (i) => vocabulary[ids[i]][0] === 10;

function layOut() {
  for (let d = 0; d < meta.names.length; d++) {
    if (meta.names.length > 1) {
      const title = make("h3", "", meta.names[d]), link = make("a", "", meta.names[d]);
      title.id = `document-${d}`;
      link.href = `#t${meta.starts[d] + 1}`;
      $("documents").append(link);
      text.append(title);
    }
    for (let from = meta.starts[d] + 1; from < meta.starts[d + 1];) {
      let to = from + 1;
      while (to < meta.starts[d + 1] && to - from < MANY && !(to - from >= FEW && begins(to))) to++;
      const element = make("div", "chunk");
      chunks.push({ from, to, element, spans: null });
      element.chunk = chunks.length - 1;
      text.append(element);
      from = to;
    }
  }
}

function estimate() {
  const probe = make("span", "", "0".repeat(100));
  const line = make("div", "chunk");
  line.append(probe);
  text.append(line);
  const columns = Math.max(10, Math.floor(line.clientWidth / (probe.getBoundingClientRect().width / 100 || 8)));
  const height = parseFloat(getComputedStyle(line).lineHeight) || 22;
  line.remove();
  for (const chunk of chunks) {
    if (chunk.spans) continue;
    let lines = 0, width = 0;
    for (let i = chunk.from; i < chunk.to; i++) for (const byte of vocabulary[ids[i]]) {
      if (byte === 10 || width >= columns) { lines++; width = 0; }
      if (byte !== 10) width++;
    }
    chunk.element.style.height = `${Math.max(1, lines) * height}px`;
  }
}

function draw(chunk) {
  if (chunk.spans) return;
  const decoder = new TextDecoder(), all = document.createDocumentFragment();
  chunk.spans = [];
  for (let i = chunk.from; i < chunk.to; i++) {
    const span = make("span", `t ${level(i)}`);
    let own = decoder.decode(vocabulary[ids[i]], { stream: i + 1 < chunk.to });
    if (!own) span.classList.add("part");
    if (own.includes("\n")) span.classList.add("nl");
    if (i === chunk.from && i > meta.starts[documentOf(i)] + 1) own = own.replace(/^\n/, "");
    span.textContent = spelled(own);
    span.token = i;
    span.tabIndex = i === current ? 0 : -1;
    span.setAttribute("role", "button");
    span.setAttribute("aria-label", `${named(i)}, ${gain(i) >= 0 ? "saved" : "cost"} ${number(Math.abs(gain(i)))} nats`);
    if (i === selected) span.setAttribute("aria-pressed", "true");
    chunk.spans.push(span);
    all.append(span);
  }
  chunk.element.append(all);
  chunk.element.style.height = "";
}

function clear(chunk) {
  if (!chunk.spans || chunk.element.contains(document.activeElement)) return;
  chunk.element.style.height = `${chunk.element.offsetHeight}px`;
  chunk.element.textContent = "";
  chunk.spans = null;
}

const near = new IntersectionObserver((entries) => {
  for (const entry of entries) (entry.isIntersecting ? draw : clear)(chunks[entry.target.chunk]);
}, { rootMargin: "1200px 0px" });

// Moving ----------------------------------------------------------------------------------------------------------

let current = 1, selected = -1;

function chunkOf(i) {
  let low = 0, high = chunks.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (chunks[middle].from <= i) low = middle; else high = middle - 1;
  }
  return chunks[low];
}

function spanOf(i) {
  const chunk = chunkOf(i);
  draw(chunk);
  return chunk.spans[i - chunk.from];
}

function focusOn(i, block = "nearest") {
  const before = chunkOf(current);
  if (before.spans && before.spans[current - before.from]) before.spans[current - before.from].tabIndex = -1;
  current = i;
  const span = spanOf(i);
  span.tabIndex = 0;
  span.focus({ preventScroll: true });
  span.scrollIntoView({ block });
  if (selected >= 0 && selected !== i) select(i);
}

function step(i, by) {
  const to = i + by;
  if (to < 1 || to >= count) return i;
  return meta.starts.includes(to) ? step(to, by) : to;
}

function lineFrom(i, by) {
  // The token below or above: of the next line that way, the nearest.
  const start = spanOf(i).getClientRects()[0] || spanOf(i).getBoundingClientRect();
  let best = i, line = null;
  for (let at = step(i, by), last = i; at !== last; last = at, at = step(at, by)) {
    const place = spanOf(at).getClientRects()[0];
    if (!place || (by > 0 ? place.top <= start.top + 4 : place.top >= start.top - 4)) continue;
    line = line ?? place.top;
    if (Math.abs(place.top - line) > 4) break;
    const closer = best === i || Math.abs(place.left - start.left) < Math.abs(spanOf(best).getClientRects()[0].left - start.left);
    if (closer) best = at;
  }
  return best;
}

function endOfLine(i, by) {
  const top = spanOf(i).getBoundingClientRect().top;
  for (let at = step(i, by), last = i; ; last = at, at = step(at, by)) {
    if (at === last || Math.abs(spanOf(at).getBoundingClientRect().top - top) > 4) return last;
  }
}

const KEYS = {
  ArrowRight: (i) => step(i, 1), ArrowLeft: (i) => step(i, -1), ArrowDown: (i) => lineFrom(i, 1),
  ArrowUp: (i) => lineFrom(i, -1), Home: (i) => endOfLine(i, -1), End: (i) => endOfLine(i, 1),
};

text.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.token === undefined) return;
  if (KEYS[event.key]) focusOn(KEYS[event.key](event.target.token));
  else if (event.key === "Enter" || event.key === " ") select(event.target.token);
  else return;
  event.preventDefault();
});
text.addEventListener("click", (event) => {
  const span = event.target.closest(".t");
  if (span) { focusOn(span.token); select(span.token); }
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });

function jump() {
  const i = Number((/^#t(\d+)$/.exec(location.hash) || [])[1]);
  if (!(i >= 1 && i < count) || meta.starts.includes(i)) return;
  select(i);
  focusOn(i, "center");
  requestAnimationFrame(() => spanOf(i).scrollIntoView({ block: innerWidth > 1100 ? "center" : "start" }));
}
addEventListener("hashchange", jump);
