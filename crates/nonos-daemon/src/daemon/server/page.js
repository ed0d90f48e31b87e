"use strict";

const REFRESH_MS = 5000;
const HISTORY_MS = 30000;
let hours = 24;

const find = (selector) => document.querySelector(selector);

/** An element with text: never markup, whatever a record says. */
function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function count(number) {
  return number.toLocaleString("en");
}

function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (number >= 1024 && unit + 1 < units.length) {
    number /= 1024;
    unit += 1;
  }
  return `${number.toFixed(unit && number < 100 ? 1 : 0)} ${units[unit]}`;
}

function duration(seconds) {
  for (const [length, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${name}`;
  }
  return `${Math.floor(seconds)} s`;
}

function ago(event) {
  return event ? `${duration(event.age_secs)} ago` : "never";
}

function tile(name, value, more, tone) {
  const made = element("div");
  made.append(element("dt", name));
  const shown = element("dd", value, tone);
  if (more) shown.append(element("small", more));
  made.append(shown);
  return made;
}

function tilesOf(open) {
  const records = open.trees.reduce((sum, tree) => sum + tree.entries, 0);
  const sample = open.newest_sample;
  const share = (value) => (value == null ? "unknown" : `${value.toFixed(0)} %`);
  const window = open.flush_every_ms == null ? "until a flush" : `${open.flush_every_ms / 1000} s at most`;
  return [
    tile("Records", count(records), `commit ${count(open.last_commit)}`),
    tile("On disk", bytes(open.size_on_disk_bytes), `${bytes(open.free_bytes)} free, ${bytes(open.reclaimable_bytes)} reclaimable`),
    tile("Not durable yet", count(open.unsynced_commits), window),
    tile("CPU", share(sample && sample.cpu_usage), sample ? "newest sample" : "no sample yet"),
    tile("Memory", share(sample && sample.memory_usage), sample ? "newest sample" : "no sample yet"),
    tile("Last backup", ago(open.backup), open.backup && `commit ${count(open.backup_commit)}`, open.backup ? "" : "warn"),
    tile("Backup verified", ago(open.verified_backup)),
    tile("Last drill", ago(open.drill)),
    tile("Last verification", ago(open.scrub), `${count(open.scrub_errors)} errors`, open.scrub_errors ? "bad" : ""),
  ];
}

function showStatus(status) {
  const open = status.open;
  const [word, tone] = open
    ? { ok: ["working", "good"], degraded: ["degraded", "warn"], poisoned: ["takes no writes", "bad"] }[open.health]
    : [status.phase, "warn"];
  const state = find("#state");
  state.textContent = word;
  state.className = `badge ${tone}`;
  const opening = status.opening;
  find("#about").textContent = opening
    ? `${opening.operation}: ${count(opening.done)} of ${count(opening.total)}`
    : `up ${duration(status.uptime_secs)}, ${status.data_dir}`;
  find("#version").textContent = `nonos ${status.version}`;
  document.title = `${word} · NONOS node`;

  const list = find("#findings ul");
  list.replaceChildren(...status.findings.map((finding) => {
    const item = element("li", undefined, finding.severity);
    item.append(element("div", finding.detail));
    if (finding.fix) item.append(element("code", finding.fix));
    return item;
  }));
  find("#findings").hidden = status.findings.length === 0;
  if (!open) return;
  find("#glance").replaceChildren(...tilesOf(open));
  find("#trees tbody").replaceChildren(...open.trees.map((tree) => {
    const row = element("tr");
    const size = tree.bytes == null ? "…" : bytes(tree.bytes);
    for (const value of [tree.name, count(tree.entries), size, count(tree.reads), count(tree.writes), count(tree.deletes)]) {
      row.append(element("td", value));
    }
    return row;
  }));
}

const CHARTS = [
  ["CPU", "cpu", (value) => `${value.toFixed(1)} %`, 100],
  ["Memory", "memory", (value) => `${value.toFixed(1)} %`, 100],
  ["Sent", "sent", (value) => `${bytes(value)}/s`],
  ["Received", "received", (value) => `${bytes(value)}/s`],
  ["Score", "score", (value) => value.toFixed(3), 1],
  ["Requests", "requests", (value) => `${value.toFixed(2)}/s`],
];

function svg(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** A curve over time, broken where there were no samples. */
function chart([title, field, unit, least], history, start, end) {
  const points = history.time
    .map((time, at) => [time, history[field][at]])
    .filter(([, value]) => value != null);
  const figure = element("figure", undefined, "chart");
  const caption = element("figcaption");
  const last = points.length ? points[points.length - 1][1] : null;
  caption.append(element("span", title), element("b", last == null ? "–" : unit(last)));
  figure.append(caption);
  const high = Math.max(least || 0, ...points.map(([, value]) => value)) || 1;
  const x = (time) => ((time - start) / (end - start)) * 1000;
  const y = (value) => 100 - (value / high) * 100;
  const drawing = svg("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img" });
  drawing.setAttribute("aria-label", last == null ? `${title}: no samples` : `${title}: ${unit(last)} now, ${unit(high)} at the top`);
  for (const height of [0, 50, 100]) drawing.append(svg("line", { class: "grid", x1: 0, x2: 1000, y1: height, y2: height }));
  // A hole is as long as several times what usually lies between two points.
  const steps = points.slice(1).map(([time], at) => time - points[at][0]).sort((a, b) => a - b);
  const hole = 4 * (steps[Math.floor(steps.length / 2)] || 60);
  const runs = [];
  points.forEach(([time, value], at) => {
    if (at === 0 || time - points[at - 1][0] > hole) runs.push([]);
    runs[runs.length - 1].push([x(time), y(value)]);
  });
  for (const run of runs) {
    const line = run.map(([left, top]) => `${left.toFixed(1)},${top.toFixed(1)}`).join(" ");
    drawing.append(svg("polygon", { class: "area", points: `${run[0][0].toFixed(1)},100 ${line} ${run[run.length - 1][0].toFixed(1)},100` }));
    drawing.append(svg("polyline", { class: "curve", points: line }));
  }
  figure.append(drawing);
  const ends = element("div", undefined, "ends");
  const past = { 1: "an hour ago", 24: "a day ago", 168: "a week ago", 720: "30 days ago" }[hours];
  ends.append(element("span", past), element("span", `top ${unit(high)}`), element("span", "now"));
  figure.append(ends);
  return figure;
}

function showHistory(history) {
  const end = Date.now() / 1000;
  const start = end - hours * 3600;
  find("#charts").replaceChildren(...CHARTS.map((of) => chart(of, history, start, end)));
  find("#samples").textContent = `${count(history.samples)} samples`;
}

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function refreshStatus() {
  try {
    showStatus(await ask("/api/v1/status"));
  } catch (error) {
    const state = find("#state");
    state.textContent = "not reachable";
    state.className = "badge bad";
    find("#about").textContent = error.message;
  }
}

async function refreshHistory() {
  const asked = hours;
  try {
    const history = await ask(`/api/v1/history?hours=${asked}&points=300`);
    if (asked === hours) showHistory(history);
  } catch {
    // The state above says that it is not reachable.
  }
}

find("#span").addEventListener("click", (event) => {
  const chosen = event.target.closest("button");
  if (!chosen) return;
  hours = Number(chosen.dataset.hours);
  for (const button of find("#span").children) button.setAttribute("aria-pressed", String(button === chosen));
  refreshHistory();
});

refreshStatus();
refreshHistory();
setInterval(refreshStatus, REFRESH_MS);
setInterval(refreshHistory, HISTORY_MS);
