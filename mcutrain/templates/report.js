// The report page's script: draws the arena and the losses, sorts the table of ops. Names only ever become text nodes.
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

function tensorText(t) {
  const last = Math.max(t.last - 1, t.first);
  return `${t.kind}, ${commas(t.nbytes)} B at addresses ${commas(t.offset)} to ${commas(t.offset + t.nbytes)}, ` +
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
  byId("at-op").textContent = opText(p) + (live === undefined ? "" : `: ${commas(live)} B alive`);
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
    arena.boxes[i] = box;
    root.append(box);
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
  const left = 62, right = 16, top = 14, bottom = 62;
  const nops = drawn.tensors.reduce((most, t) => Math.max(most, t.last), Math.max(drawn.ops.length, 1));
  const max = drawn.tensors.reduce((most, t) => Math.max(most, t.offset + t.nbytes), Math.max(drawn.height, 1));
  const x = (p) => left + (p * (width - left - right)) / nops;
  const y = (bytes) => height - bottom - (bytes * (height - top - bottom)) / (max * 1.02);
  const position = (pixel) => ((pixel - left) * nops) / (width - left - right);
  arena.scale = { x, y, position, left, right, top, bottom, nops, max };
  const root = svg("svg", { id: "arena-svg", width, height, role: "group", "aria-label": "arena: tensors by time and address" });
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

// Sorting: numbers from data-v (an empty one was not measured and stays last), texts otherwise.
function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const isNumber = heads[column].classList.contains("num");
  // The first click on a figure shows the largest first; on a text, or the position, the smallest.
  const first = isNumber && column > 0 ? "descending" : "ascending";
  const before = heads[column].getAttribute("aria-sort");
  const way = before === null ? first : before === "ascending" ? "descending" : "ascending";
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", way);
  const sign = way === "ascending" ? 1 : -1;
  const key = (row) => (isNumber ? row.cells[column].dataset.v : row.cells[column].textContent);
  const compare = (a, b) => {
    const [p, q] = [key(a), key(b)];
    if (isNumber && (p === "" || q === "")) return (p === "") - (q === "");
    return sign * (isNumber ? Number(p) - Number(q) : p.localeCompare(q)) || a.cells[0].dataset.v - b.cells[0].dataset.v;
  };
  body.append(...[...body.rows].sort(compare));
}

function drawLosses() {
  const host = byId("loss-chart");
  if (!host) return;
  const width = Math.max(Math.min(host.clientWidth, 900), 280), height = 200, left = 56, right = 16, top = 10, bottom = 42;
  const values = drawn.losses, known = values.filter((v) => v !== null);
  const max = known.reduce((most, v) => Math.max(most, v), 0) || 1;
  const min = known.reduce((least, v) => Math.min(least, v), 0);
  const x = (i) => left + (i * (width - left - right)) / Math.max(values.length - 1, 1);
  const y = (v) => height - bottom - ((v - min) * (height - top - bottom)) / (max - min);
  const root = svg("svg", { id: "loss-svg", width, height, role: "img", "aria-label": "loss per training step" });
  for (const value of ticks(max, 4, false)) {
    root.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    root.append(svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, `${Number(value.toPrecision(6))}`));
  }
  for (const i of ticks(values.length - 1, 8, false).filter(Number.isInteger)) {
    root.append(svg("text", { x: x(i), y: height - bottom + 16, "text-anchor": "middle" }, commas(i)));
  }
  root.append(svg("text", { x: left, y: height - 6 }, "training step"));
  const middle = (top + height - bottom) / 2;
  root.append(svg("text", { x: 14, y: middle, transform: `rotate(-90 14 ${middle})`, "text-anchor": "middle" }, "loss"));
  // A loss that is not a number leaves a gap.
  let path = "";
  values.forEach((v, i) => { if (v !== null) path += `${i > 0 && values[i - 1] !== null ? "L" : "M"}${x(i)} ${y(v)}`; });
  root.append(svg("path", { class: "loss-line", d: path }));
  if (values.length <= 100) {
    values.forEach((v, i) => { if (v !== null) root.append(svg("circle", { class: "loss-dot", cx: x(i), cy: y(v), r: 2.5 })); });
  }
  host.replaceChildren(root);
}

byId("find").addEventListener("input", find);
byId("zoom").addEventListener("change", drawArena);
window.addEventListener("resize", () => { drawArena(); drawLosses(); });
const opTable = byId("op-table");
[...opTable.tHead.rows[0].cells].forEach((head, i) => head.firstElementChild.addEventListener("click", () => sortBy(opTable, i)));
drawArena();
drawLosses();
// Last line: whoever checks the page (our test does) knows that all of the above ran.
document.documentElement.dataset.ready = "true";
