// The picture of the arena and what both scripts share. Names only ever become text nodes.
"use strict";
const drawn = JSON.parse(document.getElementById("drawn").textContent);
const byId = (id) => document.getElementById(id);
const commas = (n) => n.toLocaleString("en-US");

function svg(tag, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

// About `count` round steps up to `top`; steps are 1, 2 or 5 times a power of ten, or powers of two for bytes.
function ticks(top, count, isBytes) {
  const raw = Math.max(top / count, isBytes ? 1 : Number.MIN_VALUE);
  let step = 2 ** Math.ceil(Math.log2(raw));
  if (!isBytes) {
    const power = 10 ** Math.floor(Math.log10(raw));
    step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999);
  }
  return Array.from({ length: Math.floor(top / step + 1e-9) + 1 }, (_, i) => i * step);
}

function opText(position) {
  const op = drawn.ops[position];
  return op ? `op ${position}: ${op.name} (${op.op}, ${op.phase})` : `op ${position}`;
}

function runText(position) {
  const run = drawn.streams.find((s) => s.first <= position && position < s.end);
  return run ? `, in the run of ops ${run.first} to ${run.end - 1}, ${run.way}` : "";
}

// `ring, 3 of 64 rows: 3,072 of 65,536 B`, and what else lies in it.
function ringText({ nbytes, ring }) {
  const guests = ring.guests.length ? `, shared in place with ${ring.guests.join(", ")}` : "";
  return `ring, ${commas(ring.held)} of ${commas(ring.whole)} ${ring.unit}: ` +
    `${commas(nbytes)} of ${commas(ring.whole_nbytes)} B${guests}`;
}

function tensorText(t) {
  const last = Math.max(t.last - 1, t.first);
  return `${t.kind}, ${t.ring ? `${ringText(t)}, ` : ""}${commas(t.nbytes)} B at addresses ${commas(t.offset)} to ${commas(t.offset + t.nbytes)}, ` +
    `alive from ${opText(t.first)} to the end of ${opText(last)}`;
}

// Boxes in reading order for the arrow keys: by time, then by address.
const reading = drawn.tensors.map((_, i) => i).sort((a, b) =>
  drawn.tensors[a].first - drawn.tensors[b].first || drawn.tensors[a].offset - drawn.tensors[b].offset);
const place = new Map(reading.map((tensor, i) => [tensor, i]));
const arena = { boxes: [], pinned: -1, cursor: null, scale: null };

function showOp(position) {
  const { x, nops } = arena.scale;
  const p = Math.min(Math.max(position, 0), nops - 1);
  arena.cursor.setAttribute("x", x(p));
  arena.cursor.setAttribute("visibility", "visible");
  const live = drawn.live[p];
  byId("at-op").textContent = opText(p) + runText(p) + (live === undefined ? "" : `: ${commas(live)} B alive`);
}

function showTensor(i) {
  arena.boxes.forEach((box, k) => box.classList.toggle("shown", k === i));
  const out = byId("at-tensor");
  if (i < 0) return void (out.textContent = "");
  const name = document.createElement("b");
  name.textContent = drawn.tensors[i].name;
  out.replaceChildren(name, ": " + tensorText(drawn.tensors[i]));
}

function pin(i) {
  arena.pinned = i;
  showTensor(i);
}

function drawAxes(root, scale, width, height) {
  const { x, y, left, right, bottom, top, nops, max } = scale;
  const isKb = max >= 4096;
  for (const value of ticks(max, 7, true)) {
    root.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    root.append(svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, commas(isKb ? value / 1024 : value)));
  }
  for (const value of ticks(nops, width / 110, false).filter(Number.isInteger)) {
    root.append(svg("text", { x: x(value), y: height - bottom + 28, "text-anchor": "middle" }, commas(value)));
  }
  const middle = (top + height - bottom) / 2;
  root.append(svg("text", { x: 14, y: middle, transform: `rotate(-90 14 ${middle})`, "text-anchor": "middle" },
    `address in the arena (${isKb ? "KB" : "bytes"})`));
  root.append(svg("text", { x: left, y: height - 10 }, "time (ops in the order of execution)"));
}

// A strip under the picture: one piece for each run of ops of the same phase.
function drawPhases(root, scale, y) {
  for (let i = 0, j = 0; i < drawn.ops.length; i = j) {
    while (j < drawn.ops.length && drawn.ops[j].phase === drawn.ops[i].phase) j += 1;
    root.append(svg("rect", { class: `phase-${drawn.ops[i].phase}`, x: scale.x(i), width: scale.x(j) - scale.x(i), y, height: 6 }));
  }
}

// Each run of ops that executes together as one shaded column, with its name above where there is room.
function drawRuns(root, { x, top }, bottom) {
  for (const { first, end, unit, way } of drawn.streams) {
    const width = x(end) - x(first), middle = x(first) + width / 2;
    const column = svg("rect", { class: "column", x: x(first), width, y: top - 4, height: bottom - top + 4 });
    column.append(svg("title", {}, `ops ${first} to ${end - 1}, ${way}`));
    root.append(column, svg("line", { class: "brace", x1: x(first) + 1, x2: x(end) - 1, y1: top - 4, y2: top - 4 }));
    const name = [way, unit].find((text) => text.length * 6.2 < width);
    if (name) root.append(svg("text", { class: "run-name", x: middle, y: top - 9, "text-anchor": "middle" }, name));
  }
}

// Stripes over a ring's box, and what it holds where the box is large enough to be read.
function drawRing(root, { ring }, box) {
  const [x, y, width, height] = ["x", "y", "width", "height"].map((key) => Number(box.getAttribute(key)));
  root.append(svg("rect", { class: "stripes", x, y, width, height }));
  const size = Math.min(11, height), part = `${ring.held}/${ring.whole}`;
  const text = [`ring: ${commas(ring.held)} of ${commas(ring.whole)} ${ring.unit}`, `ring ${part}`, part]
    .find((words) => words.length * size * 0.6 < width - 4);
  if (!text || size < 7) return;
  const at = { x: x + width / 2, y: y + height / 2 + size * 0.36, "text-anchor": "middle", style: `font-size:${size}px` };
  root.append(svg("text", { class: "ring-name", ...at }, text));
}

function stripes() {
  const defs = svg("defs", {});
  const pattern = svg("pattern", { id: "stripes", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  pattern.append(svg("rect", { class: "stripe", width: 2, height: 6 }));
  defs.append(pattern);
  return defs;
}

function drawBoxes(root, { x, y }) {
  const area = (t) => t.nbytes * (t.last - t.first);
  // Large boxes first: a small one that shares addresses (in place) stays reachable on top.
  const order = [...reading].sort((a, b) => area(drawn.tensors[b]) - area(drawn.tensors[a]));
  arena.boxes = [];
  for (const i of order) {
    const t = drawn.tensors[i];
    const tall = y(t.offset) - y(t.offset + t.nbytes);
    const box = svg("rect", {
      // An outline would hide a box that is only a few pixels high.
      class: `box k-${t.kind}${tall < 4 ? " thin" : ""}`, x: x(t.first), width: Math.max(x(t.last) - x(t.first), 1),
      y: y(t.offset + t.nbytes), height: Math.max(tall, 1),
      "data-i": i, tabindex: i === reading[0] ? 0 : -1, role: "img", "aria-label": `${t.name}: ${tensorText(t)}`,
    });
    box.append(svg("title", {}, `${t.name}\n${t.ring ? ringText(t) : `${t.kind}, ${commas(t.nbytes)} B`}`));
    arena.boxes[i] = box;
    root.append(box);
    if (t.ring) drawRing(root, t, box);
  }
}

function drawLines(root, { x, y, nops }) {
  let path = drawn.live.length ? `M${x(0)} ${y(drawn.live[0])}` : "";
  drawn.live.forEach((bytes, p) => { path += `V${y(bytes)}H${x(p + 1)}`; });
  if (path) root.append(svg("path", { class: "live-line", d: path }));
  root.append(svg("line", { class: "height-line", x1: x(0), x2: x(nops), y1: y(drawn.height), y2: y(drawn.height) }));
}

function listen(root) {
  const index = (event) => (event.target.dataset && "i" in event.target.dataset ? Number(event.target.dataset.i) : -1);
  root.addEventListener("pointermove", (event) => {
    const at = event.clientX - root.getBoundingClientRect().left;
    showOp(Math.floor(arena.scale.position(at)));
    if (arena.pinned < 0) showTensor(index(event));
  });
  root.addEventListener("pointerleave", () => showTensor(arena.pinned));
  root.addEventListener("click", (event) => pin(index(event)));
  root.addEventListener("focusin", (event) => {
    if (index(event) < 0) return;
    pin(index(event));
    showOp(drawn.tensors[arena.pinned].first);
  });
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return pin(-1);
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    const here = index(event);
    if (here < 0 || !(event.key in steps)) return;
    event.preventDefault();
    const next = reading[Math.min(Math.max(place.get(here) + steps[event.key], 0), reading.length - 1)];
    arena.boxes[here].setAttribute("tabindex", -1);
    arena.boxes[next].setAttribute("tabindex", 0);
    arena.boxes[next].focus();
  });
}

function drawArena() {
  const host = byId("picture"), zoom = Number(byId("zoom").value);
  const width = Math.max(host.clientWidth, 640) * zoom, height = 470 * (zoom === 1 ? 1 : zoom * 0.9);
  const left = 62, right = 16, top = drawn.streams.length ? 30 : 14, bottom = 62;
  const nops = drawn.tensors.reduce((most, t) => Math.max(most, t.last), Math.max(drawn.ops.length, 1));
  const max = drawn.tensors.reduce((most, t) => Math.max(most, t.offset + t.nbytes), Math.max(drawn.height, 1));
  const x = (p) => left + (p * (width - left - right)) / nops;
  const y = (bytes) => height - bottom - (bytes * (height - top - bottom)) / (max * 1.02);
  const position = (pixel) => ((pixel - left) * nops) / (width - left - right);
  arena.scale = { x, y, position, left, right, top, bottom, nops, max };
  const root = svg("svg", { id: "arena-svg", width, height, role: "group", "aria-label": "arena: tensors by time and address" });
  root.append(stripes());
  drawRuns(root, arena.scale, height - bottom);
  drawAxes(root, arena.scale, width, height);
  drawBoxes(root, arena.scale);
  drawPhases(root, arena.scale, height - bottom + 4);
  drawLines(root, arena.scale);
  arena.cursor = svg("rect", { class: "cursor", y: top, width: Math.max(x(1) - x(0), 1.5), height: height - bottom - top, visibility: "hidden" });
  root.append(arena.cursor);
  listen(root);
  host.replaceChildren(root);
  showTensor(arena.pinned);
  find();
}

function find() {
  const wanted = byId("find").value.toLowerCase();
  const hits = drawn.tensors.map((t) => t.name.toLowerCase().includes(wanted));
  arena.boxes.forEach((box, i) => box.classList.toggle("faint", !hits[i]));
  byId("found").textContent = wanted ? `${hits.filter(Boolean).length} of ${hits.length} tensors` : "";
}

