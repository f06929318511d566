// Behind report_arena.js: sorts the table of ops, draws the losses, wires the page.
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
