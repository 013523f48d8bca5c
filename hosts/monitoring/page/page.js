// The site on one page: asks Prometheus, which serves this, and draws. Nothing comes from elsewhere.
import { ceiling, duration, fill, judged, path, words } from "./figures.js";

const RANGES = { "15 min": 900, "1 h": 3600, "6 h": 21600, "24 h": 86400, "7 d": 604800 };
const EVERY = 10; // seconds from one look to the next, as Prometheus itself
const POINTS = 150;
const COLOURS = ["#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#8b5cf6", "#06b6d4", "#ec4899", "#84cc16"];
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [480, 176, 44, 18, 6];
let range = Number(location.hash.slice(1)) || 3600;

const by = (id) => document.getElementById(id);
const svg = (name, attributes = {}) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};
function element(name, { text, ...attributes } = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  made.append(...inside);
  return made;
}
const card = (kind, ...inside) => element("div", { class: `card ${kind}` }, ...inside);

async function ask(what, parameters = {}) {
  const answer = await fetch(`../api/v1/${what}?${new URLSearchParams(parameters)}`);
  const said = await answer.json();
  if (said.status !== "success") throw new Error(said.error ?? answer.statusText);
  return said.data;
}
const step = () => Math.max(EVERY, Math.ceil(range / POINTS));
const whole = (expr) => expr.replaceAll("$window", `${Math.max(60, 2 * step())}s`);
const now = async (expr) => (await ask("query", { query: whole(expr) })).result;
const past = async (expr, end) =>
  (await ask("query_range", { query: whole(expr), start: end - range, end, step: step() })).result;

async function wrong() {
  const order = { critical: 0, warning: 1 };
  const { alerts } = await ask("alerts");
  const shown = alerts
    .filter((one) => one.labels.severity !== "none")
    .sort((a, b) => (a.state === "pending") - (b.state === "pending")
      || order[a.labels.severity] - order[b.labels.severity]
      || a.labels.alertname.localeCompare(b.labels.alertname));
  const cards = shown.map((one) => {
    const since = (Date.now() - Date.parse(one.activeAt)) / 1000;
    const state = one.state === "pending" ? "not for long enough to tell anyone; " : "";
    return card(`alert ${one.labels.severity} ${one.state}`,
      element("strong", { text: one.labels.alertname }), " ", one.annotations.summary ?? "", element("br"),
      one.annotations.description ?? "", " ",
      element("small", { text: `${state}for ${duration(since)}; what to do: ${one.annotations.runbook ?? ""}` }));
  });
  const firing = shown.filter((one) => one.state === "firing").length;
  if (!shown.length) cards.push(card("fine", "Nothing is wrong that is known of."));
  document.title = `${firing ? `(${firing}) ` : ""}${by("name").textContent}`;
  return cards;
}

async function tile(one) {
  const [found, all] = await Promise.all([now(one.expr), one.of ? now(one.of) : []]);
  const value = found.length ? Number(found[0].value[1]) : null;
  const total = all.length ? Number(all[0].value[1]) : null;
  let text = value === null ? one.none ?? "–" : words(value, one.unit ?? "");
  if (one.label && found.length) text = found.map((each) => each.metric[one.label]).sort().join(", ");
  if (one.unit === "ago" && value !== null) text += " ago";
  if (total !== null) text += ` of ${total}`;
  const short = total !== null && value < total;
  const missing = one.none !== undefined && !found.length;
  const kind = short || missing ? "bad" : judged(value, one);
  return card("tile", element("h2", { text: one.title }), element("b", { text, class: kind }));
}

async function chart(one, end) {
  const found = await Promise.all(one.series.map((each) => past(each.expr, end)));
  const lines = found.flatMap((results, at) => results.map((result) => ({
    name: fill(one.series[at].legend, result.metric).trim() || one.title,
    points: result.values.map(([time, value]) => [time, Number(value)]),
  })).sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true })));
  const values = lines.flatMap((line) => line.points.map(([, value]) => value)).filter(Number.isFinite);
  const top = one.max ?? ceiling(Math.max(one.least ?? 0, ...values));
  const x = (time) => LEFT + (WIDTH - LEFT) * (1 - (end - time) / range);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.min(value, top) / top);
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": one.title });
  for (const part of one.steps ? [0, 1] : [0, 0.5, 1]) {
    const at = y(top * part);
    picture.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: at, y2: at }));
    const text = svg("text", { x: LEFT - 6, y: at + 3, "text-anchor": "end" });
    text.textContent = one.steps ? ["no", "yes"][part] : words(top * part, one.unit);
    picture.append(text);
  }
  for (const part of [0, 0.5, 1]) {
    const at = end - range * (1 - part);
    const text = svg("text", { x: x(at), y: HEIGHT - 3, "text-anchor": ["start", "middle", "end"][part * 2] });
    const options = range > 86400 ? { month: "short", day: "numeric" } : { hour: "2-digit", minute: "2-digit" };
    text.textContent = new Date(at * 1000).toLocaleString(undefined, options);
    picture.append(text);
  }
  lines.forEach((line, at) => {
    const drawn = path(line.points, x, y, 3 * step(), one.steps);
    picture.append(svg("path", { d: drawn, fill: "none", stroke: COLOURS[at % COLOURS.length], "stroke-width": 1.6 }));
  });
  const last = lines.map((line) => line.points.at(-1)?.[1] ?? null);
  const numbers = lines.map(() => element("span"));
  const say = (at) => numbers.forEach((number, index) => {
    const near = at === null ? last[index] : nearest(lines[index].points, at);
    number.textContent = `${lines[index].name} ${one.steps ? ["no", "yes"][near] ?? "–" : words(near, one.unit)}`;
  });
  say(null);
  const hand = svg("line", { class: "hand", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  picture.append(hand);
  picture.addEventListener("mousemove", (event) => {
    const box = picture.getBoundingClientRect();
    const px = Math.max(LEFT, Math.min(WIDTH, ((event.clientX - box.left) * WIDTH) / box.width));
    hand.setAttribute("x1", px);
    hand.setAttribute("x2", px);
    hand.setAttribute("visibility", "visible");
    say(end - range * (1 - (px - LEFT) / (WIDTH - LEFT)));
  });
  picture.addEventListener("mouseleave", () => { hand.setAttribute("visibility", "hidden"); say(null); });
  const legend = element("div", { class: "legend" }, ...numbers.map((number, at) =>
    element("span", {}, element("i", { style: `background:${COLOURS[at % COLOURS.length]}` }), number)));
  if (!lines.length) legend.textContent = "nothing measured";
  return card("", element("h2", { text: one.title }), picture, legend);
}

function nearest(points, time) {
  let best = null;
  for (const [at, value] of points) {
    if (best === null || Math.abs(at - time) < Math.abs(best[0] - time)) best = [at, value];
  }
  return best !== null && Math.abs(best[0] - time) <= 2 * step() ? best[1] : null;
}

async function table(one) {
  const found = await now(one.expr);
  const cell = (column, each) => column !== "value"
    ? element("td", { text: each.metric[column] ?? "" })
    : element("td", { text: words(Number(each.value[1]), one.unit), class: judged(Number(each.value[1]), one) });
  const rows = found.map((each) => element("tr", {}, ...one.columns.map((column) => cell(column, each))));
  if (!one.columns.includes("value")) rows.sort((a, b) => a.textContent.localeCompare(b.textContent, undefined, { numeric: true }));
  const head = element("tr", {}, ...one.columns.map((text) => element("th", { text: text === "value" ? "left" : text })));
  return card("", element("h2", { text: one.title }), element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
}

async function look(panels) {
  const end = Math.floor(Date.now() / 1000 / step()) * step();
  const parts = await Promise.all([
    wrong(),
    Promise.all(panels.tiles.map(tile)),
    Promise.all(panels.charts.map((one) => chart(one, end))),
    Promise.all(panels.tables.map(table)),
  ]);
  ["wrong", "tiles", "charts", "tables"].forEach((id, at) => by(id).replaceChildren(...parts[at]));
}

async function main() {
  const panels = await (await fetch("panels.json")).json();
  const { yaml } = await ask("status/config");
  const named = (key) => yaml.match(new RegExp(`^ {4}${key}: (.*)$`, "m"))?.[1].replaceAll('"', "") ?? "";
  by("name").textContent = [named("project"), named("stack")].filter(Boolean).join(" / ") || "site";
  let looking = Promise.resolve();
  const again = () => {
    looking = looking.then(() => look(panels)).then(
      () => { by("said").textContent = `as of ${new Date().toLocaleTimeString()}`; by("said").className = ""; },
      (error) => { by("said").textContent = `Prometheus: ${error.message}`; by("said").className = "bad"; },
    );
    return looking;
  };
  for (const [name, seconds] of Object.entries(RANGES)) {
    const button = element("button", { text: name, "aria-pressed": seconds === range });
    button.addEventListener("click", () => {
      range = seconds;
      history.replaceState(null, "", `#${seconds}`);
      for (const other of by("ranges").children) other.setAttribute("aria-pressed", other === button);
      again();
    });
    by("ranges").append(button);
  }
  await again();
  setInterval(() => { if (!document.hidden) again(); }, EVERY * 1000);
}

main().catch((error) => { by("said").textContent = String(error); by("said").className = "bad"; });
