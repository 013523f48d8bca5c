// Pure functions: numbers to words, series to lines.

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"], [1e-3, "ms"], [1e-6, "µs"]];

function digits(value) {
  if (value === 0) return "0";
  if (Math.abs(value) >= 100) return String(Math.round(value));
  return String(Number(value.toPrecision(3)));
}

export function words(value, unit) {
  if (value === null || Number.isNaN(value)) return "–";
  if (unit === "%") return `${digits(value * 100)} %`;
  if (unit === "s" || unit === "ago") {
    const [size, name] = UNITS.find(([size]) => Math.abs(value) >= size) ?? [1, "s"];
    return `${digits(value / size)} ${name}`;
  }
  for (const [size, name] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size * 10) return `${digits(value / size)} ${name}${unit}`;
  }
  return [digits(value), unit].filter(Boolean).join(unit.startsWith("/") ? "" : " ");
}

export function fill(template, labels) {
  return template.replace(/{{(\w+)}}/g, (_, name) => labels[name] ?? "");
}

// The least of 1, 2, 5 × 10ⁿ that is no less: where an axis ends.
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value * (1 - 1e-9));
}

export function judged(value, { warn, bad, warn_below: below }) {
  if (value === null) return "";
  if (bad !== undefined && value >= bad) return "bad";
  if (warn !== undefined && value >= warn) return "warn";
  return below !== undefined && value < below ? "warn" : "";
}

// Points of one series as SVG's path; what is missing is a gap.
export function path(points, x, y, gap, steps) {
  let drawn = "", last = null;
  for (const [time, value] of points) {
    if (!Number.isFinite(value)) { last = null; continue; }
    const [px, py] = [x(time).toFixed(1), y(value).toFixed(1)];
    if (last === null || time - last > gap) drawn += `M${px} ${py}`;
    else drawn += steps ? `H${px}V${py}` : `L${px} ${py}`;
    last = time;
  }
  return drawn;
}

export function duration(seconds) {
  return words(Math.max(0, Math.floor(seconds)), "s");
}
