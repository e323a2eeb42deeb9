"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
const fixed = (value, digits = 3) => value.toFixed(digits);

// The page holds each trial's name once; it is added to the hover texts of points here.
const nameOf = new Map(page.table.rows.map((row) => [row.cells[0], row.cells[1]]));
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
function nameTrials(trace) {
  if (!trace.customdata) return;
  const key = trace.hovertext ? "hovertext" : "text";
  const said = trace[key] || [];
  trace[key] = trace.customdata.map((number, point) => {
    const name = nameOf.get(number);
    const short = name.length > 90 ? `${name.slice(0, 90)}…` : name;
    return [`trial ${number}, ${plain(short)}`, plain(said[point] || "")].filter(Boolean).join("<br>");
  });
}

// Figures are drawn when they come near the window, so that a long page opens quickly.
const drawn = new Set();
function draw(element) {
  const id = element.dataset.figure;
  if (drawn.has(id)) return;
  drawn.add(id);
  const { data, layout } = page.figures[id];
  data.forEach(nameTrials);
  Plotly.newPlot(element, data, layout, { responsive: true, displayModeBar: false });
}
const elements = [...document.querySelectorAll(".figure")];
const watcher = new IntersectionObserver(
  // With a pause between figures, so that each one is shown and the page responds before the next one.
  (entries) =>
    entries.filter((entry) => entry.isIntersecting).forEach((entry, index) => setTimeout(draw, 50 * index, entry.target)),
  { rootMargin: "100px" },
);
elements.forEach((element) => watcher.observe(element));
window.addEventListener("beforeprint", () => elements.forEach(draw));

// The triangle of weights: sst at the top, para at the lower left, sts at the lower right.
const HEIGHT = 86.6;
const corners = [[50, 0], [0, HEIGHT], [100, HEIGHT]];
const place = (weights) =>
  [0, 1].map((axis) => weights.reduce((sum, weight, task) => sum + weight * corners[task][axis], 0));
function weightsAt([x, y]) {
  const sst = 1 - y / HEIGHT;
  const sts = x / 100 - sst / 2;
  return [sst, 1 - sst - sts, sts];
}
const scoreUnder = (region, weights) =>
  weights.reduce((sum, weight, task) => sum + weight * region.scores[task], 0);
/** The region whose checkpoint scores highest under weights that add up to 1, and its score. */
function winnerAt(weights) {
  const best = page.regions.reduce((a, b) => (scoreUnder(b, weights) > scoreUnder(a, weights) ? b : a));
  return { ...best, score: scoreUnder(best, weights) };
}
function svg(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
  element.textContent = text;
  return element;
}
function sayWinner(weights) {
  const winner = winnerAt(weights);
  const shares = weights.map((weight) => fixed(Math.max(0, weight), 2));
  const lines = [
    `sst ${shares[0]}, para ${shares[1]}, sts ${shares[2]}`,
    `trial ${winner.trial}, ${winner.name}`,
    `report ${winner.report}, ${winner.state}: score ${fixed(winner.score, 4)}`,
    `sst ${fixed(winner.scores[0])}, para ${fixed(winner.scores[1])}, sts ${fixed(winner.scores[2])}`,
    winner.kept ? "its model is kept" : "its model is not kept",
  ];
  const says = document.getElementById("triangle-says");
  says.replaceChildren(...lines.flatMap((line) => [document.createTextNode(line), document.createElement("br")]));
  const [x, y] = place(weights);
  const pointer = document.getElementById("pointer");
  pointer.setAttribute("cx", x);
  pointer.setAttribute("cy", y);
}
function drawTriangle(map) {
  for (const region of page.regions) {
    const points = region.corners.map(place);
    const shape = { points: points.map((point) => point.map((p) => fixed(p)).join(",")).join(" "), fill: region.colour };
    map.append(svg("polygon", { ...shape, stroke: "white", "stroke-width": 0.3 }));
  }
  for (const region of page.regions) {
    const points = region.corners.map(place);
    const [x, y] = [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
    if (region.share > 0.01) map.append(svg("text", { x, y: y + 1.2, class: "number" }, region.trial));
  }
  const titles = [["all on sst", 50, -3], ["all on para", 6, HEIGHT + 6], ["all on sts", 94, HEIGHT + 6]];
  titles.forEach(([text, x, y]) => map.append(svg("text", { x, y }, text)));
  map.append(svg("circle", { id: "pointer", r: 1.4, fill: "none", stroke: "black", "stroke-width": 0.6 }));
  const inputs = [...document.querySelectorAll("#weights input")];
  function fromForm() {
    const given = inputs.map((input) => Math.max(0, Number(input.value) || 0));
    const total = given[0] + given[1] + given[2];
    if (total > 0) sayWinner(given.map((weight) => weight / total));
  }
  inputs.forEach((input) => input.addEventListener("input", fromForm));
  map.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
    const weights = weightsAt([at.x, at.y]);
    if (weights.every((weight) => weight > -0.02)) {
      const inside = weights.map((weight) => Math.max(0, weight));
      const total = inside[0] + inside[1] + inside[2];
      const shares = inside.map((weight) => weight / total);
      inputs.forEach((input, task) => { input.value = fixed(shares[task], 2); });
      sayWinner(shares);
    }
  });
  fromForm();
}
const map = document.getElementById("triangle-map");
if (map) drawTriangle(map);

// The table of trials.
const { columns, rows } = page.table;
const order = { column: columns.indexOf("score"), down: true };
const isNumber = (value) => typeof value === "number";
function shownAs(value, column) {
  if (value === null) return "";
  if (!isNumber(value) || Number.isInteger(value)) return String(value);
  if (columns[column] === "seconds") return fixed(value, 0);
  const isScore = ["score", "sst", "para", "sts"].includes(columns[column]);
  return isScore || Math.abs(value) >= 0.1 ? fixed(value) : String(Number(value.toPrecision(3)));
}
function matches(row, filter) {
  return filter.split(/\s+/).filter(Boolean).every((word) => {
    const compared = word.match(/^([^<>=]+)(<=|>=|<|>|=)(.+)$/);
    const column = compared ? columns.indexOf(compared[1]) : -1;
    if (column < 0) return row.text.includes(word.toLowerCase());
    const [value, wanted] = [row.cells[column], Number(compared[3])];
    if (!isNumber(value) || Number.isNaN(wanted))
      return compared[2] === "=" && String(value).toLowerCase() === compared[3].toLowerCase();
    return { "<": value < wanted, ">": value > wanted, "<=": value <= wanted, ">=": value >= wanted, "=": value === wanted }[
      compared[2]
    ];
  });
}
function compare(a, b) {
  const [x, y] = [a.cells[order.column], b.cells[order.column]];
  if (x === y) return a.cells[0] - b.cells[0];
  // Missing values come last in both directions.
  if (x === null || y === null) return x === null ? 1 : -1;
  const less = isNumber(x) && isNumber(y) ? x - y : String(x).localeCompare(String(y));
  return order.down ? -less : less;
}
const isText = (name) => ["name", "state"].includes(name);
const body = document.querySelector("#table tbody");
const filter = document.getElementById("filter");
function cell(text, className = "") {
  const element = document.createElement("td");
  element.textContent = text;
  if (className) element.className = className;
  return element;
}
function detailOf(row) {
  const detail = document.createElement("tr");
  detail.className = "detail";
  const inside = cell("");
  inside.colSpan = columns.length;
  const why = document.createElement("p");
  why.textContent = `${row.why || "No decision yet"}. Origin: ${row.origin}.`;
  inside.append(why);
  if (row.options !== null) {
    const command = document.createElement("pre");
    command.textContent = `${page.command} ${row.options} --out trial-${row.cells[0]}`;
    inside.append("To train this trial again by itself:", command);
  }
  detail.append(inside);
  return detail;
}
function lineOf(row) {
  const line = document.createElement("tr");
  if (row.cells[0] === page.winner) line.className = "winner";
  line.append(
    ...row.cells.map((value, column) => cell(shownAs(value, column), isText(columns[column]) ? columns[column] : "")),
  );
  line.addEventListener("click", () => {
    const next = line.nextSibling;
    if (next && next.className === "detail") next.remove();
    else line.after(detailOf(row));
  });
  return line;
}
// Rows are added as the table is scrolled, because thousands of rows take seconds.
const ROWS_AT_ONCE = 200;
let waiting = [];
function grow() {
  body.append(...waiting.splice(0, ROWS_AT_ONCE).map(lineOf));
}
function fill() {
  waiting = rows.filter((row) => matches(row, filter.value)).sort(compare);
  document.getElementById("shown").textContent = `${waiting.length} of ${rows.length} trials`;
  body.replaceChildren();
  grow();
}
rows.forEach((row) => {
  row.text = [...row.cells.map((value, column) => shownAs(value, column)), row.why, row.origin].join(" ").toLowerCase();
});
const heading = document.createElement("tr");
columns.forEach((name, column) => {
  const element = document.createElement("th");
  element.textContent = name;
  if (isText(name)) element.className = name;
  element.addEventListener("click", () => {
    order.down = order.column === column ? !order.down : isNumber(rows[0]?.cells[column]) && column > 0;
    order.column = column;
    fill();
  });
  heading.append(element);
});
document.querySelector("#table thead").append(heading);
filter.addEventListener("input", fill);
fill();
new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && grow(), {
  rootMargin: "1500px",
}).observe(document.getElementById("more"));
