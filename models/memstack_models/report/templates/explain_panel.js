// What was retrieved ----------------------------------------------------------------------------------------------

const decoded = new Map();

function retrieved(i) {
  const place = Math.floor(i / meta.block), size = Math.min(meta.block, count - place * meta.block);
  if (!decoded.has(place)) {
    const bytes = bytesOf(blocks[place]), wide = meta.wide ? 4 : 2, entries = size * heads * meta.kept;
    const back = bytes.slice(size * heads, size * heads + entries * wide).buffer;
    decoded.set(place, {
      shares: bytes.subarray(0, size * heads),
      back: meta.wide ? new Uint32Array(back) : new Uint16Array(back),
      weights: bytes.subarray(size * heads + entries * wide),
    });
  }
  const block = decoded.get(place), own = i - place * meta.block;
  return Array.from({ length: heads }, (_, head) => {
    const at = own * heads + head, share = block.shares[at] / 255, entries = [];
    for (let e = at * meta.kept; e < (at + 1) * meta.kept; e++) {
      if (block.back[e]) entries.push({ back: block.back[e], weight: block.weights[e] / 255 });
    }
    return { layer: meta.layers[Math.floor(head / meta.heads)], head: (head % meta.heads) + 1, share, entries };
  });
}

function bar(part, className = "") {
  const made = make("div", `bar ${className}`), inside = make("i");
  inside.style.width = `${Math.min(100, 100 * part)}%`;
  made.append(inside);
  return made;
}

function lossesOf(i) {
  const made = make("dl", "losses"), most = Math.max(off[i], on[i], 1);
  for (const [name, nats] of [["without memory", off[i]], ["with memory", on[i]]]) {
    const value = make("dd", "", `${number(nats)} nats, p ${percent(Math.exp(-nats))}`), drawn = make("dd");
    drawn.append(bar(nats / most, "plain"));
    made.append(make("dt", "", name), value, drawn);
  }
  return made;
}

function entryOf(i, entry, share) {
  const link = make("a", "entry"), line = make("span");
  link.href = `#t${i - entry.back}`;
  line.append(make("b", "", percent(share * entry.weight)), make("span", "", `${percent(entry.weight)} of the memory's`),
    make("span", "", `${whole(entry.back)} tokens back`));
  link.append(line, around(i - entry.back, 14, 12));
  return link;
}

function headOf(i, head, open) {
  const made = make("details", "head"), title = make("summary"), list = make("ol");
  made.open = open;
  title.append(make("h3", "", `layer ${head.layer}, head ${head.head}`), bar(head.share), make("b", "", percent(head.share)));
  title.setAttribute("aria-label", `layer ${head.layer}, head ${head.head}: ${percent(head.share)} of its attention on the memory`);
  const fill = () => {
    if (list.childNodes.length) return;
    for (const entry of head.entries) {
      const item = make("li");
      item.append(entryOf(i, entry, head.share));
      list.append(item);
    }
    if (!head.entries.length) list.append(make("li", "quiet", "The memory was empty: this is the first segment."));
  };
  if (open) fill();
  made.addEventListener("toggle", fill);
  made.append(title, list);
  return made;
}

function select(i) {
  const before = selected >= 0 && chunkOf(selected);
  if (before && before.spans) before.spans[selected - before.from].removeAttribute("aria-pressed");
  selected = i;
  spanOf(i).setAttribute("aria-pressed", "true");
  const panel = $("panel"), title = make("h2"), d = documentOf(i), found = retrieved(i);
  const quit = make("button", "close", "\u00d7"), told = make("p", "quiet");
  quit.setAttribute("aria-label", "Close");
  quit.addEventListener("click", close);
  title.id = "chosen";
  title.append(make("code", level(i), named(i)), ` ${gain(i) >= 0 ? "saved" : "cost"} ${number(Math.abs(gain(i)))} nats`);
  told.textContent = `Token ${whole(i - meta.starts[d])} of ${meta.names[d]}. Below, the share of each head's attention that the token before it gave to the memory, and to each entry.`;
  const order = [...found].sort((a, b) => b.share - a.share);
  panel.replaceChildren(quit, title, lossesOf(i), told, ...order.map((head, place) => headOf(i, head, place < 2)));
  panel.hidden = false;
  panel.scrollTop = 0;
  document.querySelector("main").classList.add("chosen");
}

function close() {
  if (selected < 0) return;
  const i = selected;
  selected = -1;
  spanOf(i).removeAttribute("aria-pressed");
  $("panel").hidden = true;
  document.querySelector("main").classList.remove("chosen");
  focusOn(i);
}

// The whole at a glance -------------------------------------------------------------------------------------------

function fillList(id, tokens) {
  for (const i of tokens) {
    const item = make("li"), link = make("a");
    link.href = `#t${i}`;
    link.append(make("b", "", number(gain(i))), around(i, 5, 3));
    link.setAttribute("aria-label", `${named(i)}, ${number(gain(i))} nats saved, token ${whole(i)}`);
    item.className = id;
    item.append(link);
    $(id).querySelector("ol").append(item);
  }
  if (!tokens.length) $(id).append(make("p", "quiet", "None."));
}

function drawStrip() {
  const parts = Math.min(150, Math.ceil(count / 32)), size = count / parts, means = [];
  for (let p = 0; p < parts; p++) {
    let sum = 0;
    const from = Math.floor(p * size), to = Math.floor((p + 1) * size);
    for (let i = from; i < to; i++) sum += gain(i);
    means.push(sum / Math.max(1, to - from));
  }
  const top = Math.max(0.05, ...means), low = Math.max(0.05 * top, ...means.map((each) => -each)), zero = (44 * top) / (top + low);
  const svg = (name, values) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
    return made;
  };
  const strip = $("strip"), all = svg("svg", { viewBox: `0 0 ${parts} 44`, preserveAspectRatio: "none", role: "img",
    "aria-label": `Mean nats saved along the text, at most ${number(top)}, at least ${number(Math.min(...means))}` });
  means.forEach((mean, p) => {
    const height = Math.max(0.4, (44 * Math.abs(mean)) / (top + low));
    all.append(svg("rect", { x: p + 0.08, width: 0.84, y: mean > 0 ? zero - height : zero, height, class: mean > 0 ? "up" : "down" }));
  });
  const here = svg("rect", { y: 0, height: 44, class: "here" });
  all.append(svg("line", { x1: 0, x2: parts, y1: zero, y2: zero, "stroke-width": 0.6 }), here);
  all.addEventListener("click", (event) => {
    const box = all.getBoundingClientRect(), at = Math.floor(((event.clientX - box.left) / box.width) * count);
    const chunk = chunkOf(Math.max(1, at));
    spanOf(Math.min(Math.max(at, chunk.from), chunk.to - 1)).scrollIntoView({ block: "center" });
  });
  strip.append(all, make("p", "", `Nats saved along ${whole(count)} tokens, the mean of ${whole(Math.round(size))} each; at most ${number(top)}.`));
  strip.hidden = false;
  const seen = () => {
    const visible = chunks.filter((chunk) => { const box = chunk.element.getBoundingClientRect(); return box.bottom > 0 && box.top < innerHeight; });
    here.setAttribute("x", visible.length ? visible[0].from / size : 0);
    here.setAttribute("width", visible.length ? Math.max(0.5, (visible[visible.length - 1].to - visible[0].from) / size) : 0);
  };
  let asked = false;
  const ask = () => { if (!asked) { asked = true; requestAnimationFrame(() => { asked = false; seen(); }); } };
  addEventListener("scroll", ask, { passive: true });
  ask();
}

fillList("gained", meta.gained);
fillList("lost", meta.lost);
if (innerWidth <= 1100) $("gained").open = false;
layOut();
estimate();
for (const chunk of chunks) near.observe(chunk.element);
draw(chunks[0]);
drawStrip();
addEventListener("resize", estimate);
jump();
document.documentElement.dataset.ready = Math.round(performance.now());
