// The control room: listens to /v1/room/stream and shows what it hears. The stream is read with fetch, because an
// EventSource cannot send a token.

const KEPT = 120; // seconds of history
const STALE = 3_500; // milliseconds without news until the figures are called old
const TOKEN = "stock-token";
const THEME = "stock-theme";
const LEVELS = { local: "--green", redis: "--blue", database: "--amber" };
const WORDS = {
  up: "▲ up", hung: "◼ hung", down: "▼ down", quarantined: "◷ quarantined", barred: "◆ does not vote",
};

const $ = (id) => document.getElementById(id);
const history = [];
const states = new Map();
let heard = 0;
let follower = 0; // only the last to begin goes on
let connection = new AbortController();

// ---- small tools ------------------------------------------------------------------------------------------------

/** An element with attributes and children; texts are texts, never markup. */
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  set(made, attributes);
  made.append(...children);
  return made;
}

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  set(made, attributes);
  made.append(...children);
  return made;
}

function set(element, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "hue") element.style.setProperty("--hue", `var(${value})`);
    else if (key === "width%") element.style.width = `${value}%`;
    else element.setAttribute(key, value);
  }
}

/** Replaces what an element shows, unless it shows that already: what has the focus keeps it. */
function show(element, ...children) {
  const next = el("div", {}, ...children);
  if (next.innerHTML !== element.innerHTML) element.replaceChildren(...next.childNodes);
}

function number(value) {
  if (value === 0) return "0";
  if (Math.abs(value) < 10) return value.toLocaleString("en", { maximumFractionDigits: 2 });
  return Math.round(value).toLocaleString("en");
}

function millis(value) {
  return value < 1_000 ? `${number(value)} ms` : `${number(value / 1_000)} s`;
}

function duration(seconds) {
  const whole = Math.floor(seconds);
  if (whole < 90) return `${whole} s`;
  if (whole < 5_400) return `${Math.floor(whole / 60)} min`;
  return `${Math.floor(whole / 3_600)} h ${Math.floor((whole % 3_600) / 60)} min`;
}

// ---- what is shown ----------------------------------------------------------------------------------------------

function draw(room) {
  $("room").hidden = false;
  $("room").classList.remove("stale");
  $("login").hidden = true;
  // A link carries no token.
  $("links").hidden = sessionStorage.getItem(TOKEN) !== null;
  facts(room);
  nodes(room);
  tiles(room);
  charts();
  cache(room.cache);
  batches(room.batches);
  records(room.records);
  leases(room);
}

function facts(room) {
  const fact = ([name, value]) => el("div", {}, el("dt", {}, name), el("dd", { title: value }, value));
  const all = [["repository", room.repository], ["database", room.database],
    ["process", String(room.process_id)], ["up", duration(room.uptime_seconds)]];
  show($("facts"), ...all.map(fact));
}

function nodes(room) {
  const voting = room.nodes.filter((node) => node.state === "up").length;
  const needed = Math.floor(room.nodes.length / 2) + 1;
  show($("quorum"), `${voting} of ${room.nodes.length} vote, ${needed} are needed`);
  $("quorum").className = voting < needed ? "bad" : "";
  room.nodes.forEach((node, index) => card(node, index, room.nodes_can_be_hurt));
  while ($("nodes").children.length > room.nodes.length) $("nodes").lastChild.remove();
  const changed = room.nodes.filter((node) => states.has(node.number) && states.get(node.number) !== node.state);
  room.nodes.forEach((node) => states.set(node.number, node.state));
  if (changed.length > 0) $("news").textContent = changed.map((node) => `${node.name}: ${node.state}`).join(", ");
}

/** Made once and then only changed, so that a button that has the focus keeps it. */
function card(node, index, hurtable) {
  let item = $("nodes").children[index];
  if (!item) {
    item = el("li", {}, el("h3"), el("span", { class: "state" }), el("span", { class: "more" }));
    if (hurtable) item.append(hurts(node));
    $("nodes").append(item);
  }
  item.className = `node ${node.state}`;
  item.dataset.node = node.number;
  item.dataset.state = node.state;
  const [name, state, more] = item.children;
  name.textContent = node.name;
  state.textContent = WORDS[node.state] ?? node.state;
  const since = node.state === "quarantined" ? `votes in ${duration(Math.ceil(node.seconds))}` : `for ${duration(node.seconds)}`;
  const round = node.round_ms === null ? [] : [`round ${millis(node.round_ms)}`];
  more.textContent = [...round, since, ...(node.detail ? [node.detail] : [])].join(" · ");
}

function hurts(node) {
  const button = (action) => {
    const made = el("button", { type: "button", "aria-label": `${action} ${node.name}` }, action);
    made.addEventListener("click", () => hurt(node.number, action));
    return made;
  };
  return el("div", { class: "hurt" }, ...["stop", "resume", "kill", "restart"].map(button));
}

async function hurt(node, action) {
  let trouble = "";
  try {
    const answer = await fetch(`/v1/room/nodes/${node}/${action}`, { method: "POST", headers: authorization() });
    if (!answer.ok) trouble = `node ${node}: ${action} was refused (${answer.status})`;
  } catch {
    trouble = `node ${node}: ${action} did not arrive`;
  }
  $("trouble").textContent = trouble;
  if (!trouble) $("news").textContent = `node ${node}: ${action} done`;
}

function tiles({ operations, batches, leases_held }) {
  const all = [
    ["operations/s", number(operations.per_second)],
    ["p50", millis(operations.p50_ms)],
    ["p99", millis(operations.p99_ms)],
    ["refused/s", number(operations.refused_per_second)],
    ["failed/s", number(operations.failed_per_second), operations.failed_per_second > 0],
    ["reads/s", number(operations.reads_per_second)],
    ["leases held", number(leases_held)],
  ];
  if (batches) {
    all.push(["transactions/s", number(batches.transactions_per_second)]);
    all.push(["requests in one", number(batches.requests_per_transaction)]);
  }
  const tile = ([name, value, alert]) =>
    el("div", { class: alert ? "alert" : "" }, el("dt", {}, name), el("dd", {}, value));
  show($("tiles"), ...all.map(tile));
}

function charts() {
  // What has not happened in these minutes is named, and not drawn over the axis.
  const line = (of, hue, name) => ({ values: history.map((room) => of(room.operations)), hue, name });
  chart($("throughput"), [
    line((seen) => seen.per_second, "--blue", "carried out"),
    line((seen) => seen.refused_per_second, "--amber", "refused"),
    line((seen) => seen.failed_per_second, "--red", "failed"),
  ]);
  chart($("latency"), [
    line((seen) => seen.p50_ms, "--green", "half within"),
    line((seen) => seen.p99_ms, "--violet", "99 of 100 within"),
  ]);
}

function chart(place, lines) {
  const [width, height, left, bottom] = [Math.max(240, place.clientWidth), 176, 44, 6];
  const top = nice(Math.max(1, ...lines.flatMap((line) => line.values)));
  const x = (index) => width - (history.length - 1 - index) * ((width - left) / (KEPT - 1));
  const y = (value) => height - bottom - (value / top) * (height - bottom - 14);
  const path = (values) => values.map((value, index) => `${index ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  for (const part of [0, 0.5, 1]) {
    drawing.append(svg("line", { class: "grid", x1: left, x2: width, y1: y(top * part), y2: y(top * part) }));
    drawing.append(svg("text", { x: left - 6, y: y(top * part) + 4, "text-anchor": "end" }, number(top * part)));
  }
  const spoken = [];
  for (const { values, hue, name } of lines) {
    spoken.push(`${name} ${number(values.at(-1))}`);
    if (values.every((value) => value === 0)) continue;
    const drawn = path(values);
    const area = `${drawn}L${x(values.length - 1)} ${y(0)}L${x(0)} ${y(0)}Z`;
    drawing.append(svg("path", { class: "area", d: area, hue }));
    drawing.append(svg("path", { class: "line", d: drawn, hue }));
  }
  drawing.setAttribute("aria-label", `now: ${spoken.join(", ")}`);
  const legend = lines.map(({ hue, name, values }) => el("li", { hue }, el("i"), `${name} ${number(values.at(-1))}`));
  place.replaceChildren(drawing, el("ul", { class: "legend" }, ...legend));
}

/** The next of 1, 2, 5, 10, 20, … */
function nice(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= most) ?? most;
}

function cache(levels) {
  if (!levels) return show($("cache"), el("p", { class: "none" }, "There is no cache in front of this repository."));
  if (levels.every(({ reads }) => reads === 0)) {
    return show($("cache"), el("p", { class: "none" }, "Nothing has been read yet."));
  }
  const rows = levels.flatMap(({ level, reads, per_second, rate }) => [
    el("span", {}, level),
    el("div", { class: "bar", hue: LEVELS[level] ?? "--blue" }, el("i", { "width%": (rate * 100).toFixed(1) })),
    el("span", { class: "value" }, `${(rate * 100).toFixed(1)} % of ${number(reads)}, ${number(per_second)}/s`),
  ]);
  show($("cache"), el("div", { class: "bars" }, ...rows));
}

function batches(seen) {
  const counts = seen?.requests_by_power_of_two ?? [];
  const last = counts.findLastIndex((count) => count > 0);
  if (last < 0) return show($("batches"), el("p", { class: "none" }, "No transaction has carried several requests yet."));
  const most = Math.max(...counts);
  const rows = counts.slice(1, last + 1).flatMap((count, index) => [
    el("span", {}, index === 0 ? "1" : `${2 ** index}–${2 ** (index + 1) - 1}`),
    el("div", { class: "bar" }, el("i", { "width%": ((count / most) * 100).toFixed(1) })),
    el("span", { class: "value" }, number(count)),
  ]);
  show($("batches"), el("div", { class: "bars" }, ...rows));
}

function records(seen) {
  if (seen.length === 0) return show($("records"), empty(8, "Nothing has been changed yet."));
  const row = (record) => {
    const whole = Math.max(1, record.stock);
    const part = (value, hue) => el("i", { hue, "width%": ((value / whole) * 100).toFixed(2) });
    const stack = el("div", { class: "stack", title: "available, locked, reserved" },
      part(record.available_stock, "--green"), part(record.locked_stock, "--amber"), part(record.reserved_stock, "--violet"));
    const figures = [record.available_stock, record.locked_stock, record.reserved_stock, record.stock, record.version];
    const names = ["available", "locked", "reserved", "on hand", "version"];
    return el("tr", {}, el("td", { "data-name": "variant" }, String(record.variant_id)),
      el("td", { "data-name": "warehouse" }, String(record.warehouse_id)), el("td", { class: "whole" }, stack),
      ...figures.map((figure, index) => el("td", { class: "number", "data-name": names[index] }, number(figure))));
  };
  show($("records"), ...seen.map(row));
}

function leases({ leases: seen, leases_held }) {
  show($("held"), `${number(leases_held)} held here${leases_held > seen.length ? `, ${seen.length} shown` : ""}`);
  if (seen.length === 0) return show($("leases"), empty(3, "None is held at the moment."));
  const longest = Math.max(...seen.map((lease) => lease.remaining_ms), 1);
  const row = ({ resource, fence, remaining_ms }) => {
    const bar = el("div", { class: "bars" },
      el("span"), el("div", { class: "bar" }, el("i", { "width%": ((remaining_ms / longest) * 100).toFixed(1) })),
      el("span", { class: "value" }, millis(remaining_ms)));
    return el("tr", {}, el("td", { class: "whole name" }, resource),
      el("td", { class: "number", "data-name": "token" }, String(fence)), el("td", { class: "whole" }, bar));
  };
  show($("leases"), ...seen.map(row));
}

function empty(columns, text) {
  return el("tr", {}, el("td", { colspan: columns, class: "none" }, text));
}

// ---- the stream -------------------------------------------------------------------------------------------------

function authorization() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { authorization: `Bearer ${token}` } : {};
}

function say(text, kind) {
  $("link").textContent = text;
  $("link").className = `pill ${kind}`;
}

/** Whether this is what the page knows how to show. Another version of the service may say something else. */
function isRoom(room) {
  const lists = [room?.nodes, room?.leases, room?.records];
  const figures = ["per_second", "refused_per_second", "failed_per_second", "reads_per_second", "p50_ms", "p99_ms"];
  return lists.every(Array.isArray) && figures.every((name) => Number.isFinite(room.operations?.[name]));
}

/** One event. What cannot be read is left out: the next one comes in a second, and silence is noticed below. */
function take(data) {
  let room = null;
  try {
    room = JSON.parse(data);
  } catch {
    // Said below.
  }
  if (isRoom(room)) return hear(room);
  say("unreadable news", "gone");
}

function hear(room) {
  heard = performance.now();
  history.push(room);
  if (history.length > KEPT) history.shift();
  say("live", "live");
  draw(room);
}

/** Events are parted by an empty line; of an event only its data is of interest. */
async function listen(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (text + value).replaceAll("\r\n", "\n").split("\n\n");
    text = events.pop();
    for (const event of events) {
      const data = event.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      if (data) take(data);
    }
  }
}

async function follow() {
  const mine = ++follower;
  for (let pause = 500; mine === follower; pause = Math.min(pause * 2, 5_000)) {
    connection = new AbortController();
    let why = "away, trying again";
    try {
      const signal = connection.signal;
      const answer = await fetch("/v1/room/stream", { headers: authorization(), cache: "no-store", signal });
      if (answer.status === 401) return ask(sessionStorage.getItem(TOKEN) !== null);
      why = answer.status === 503 ? "busy, trying again" : "away, trying again";
      if (answer.ok) {
        pause = 250;
        await listen(answer.body);
      }
    } catch {
      // The instance is away; it is asked again below.
    }
    if (mine !== follower) return;
    say(why, "gone");
    $("room").classList.add("stale");
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

function ask(refused) {
  heard = 0;
  sessionStorage.removeItem(TOKEN);
  say("token needed", "");
  $("login").hidden = false;
  $("refused").textContent = refused ? "That is not its token." : "";
  $("token").focus();
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = $("token").value;
  $("token").value = "";
  // What no header can carry is no token.
  if (!/^[!-~]+$/.test(token)) return ask(true);
  sessionStorage.setItem(TOKEN, token);
  connection.abort();
  follow();
});

setInterval(() => {
  if (heard > 0 && performance.now() - heard > STALE) {
    say("no news", "gone");
    $("room").classList.add("stale");
    // Half dead perhaps: a new one will tell.
    heard = performance.now();
    connection.abort();
  }
}, 500);

// ---- colours ----------------------------------------------------------------------------------------------------

const THEMES = { system: "◐ system", light: "☀ light", dark: "☾ dark" };

function colour(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = THEMES[theme];
  $("theme").setAttribute("aria-label", `Colours: ${theme}`);
}

$("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
  localStorage.setItem(THEME, next);
  colour(next);
});

colour(THEMES[localStorage.getItem(THEME)] ? localStorage.getItem(THEME) : "system");
follow();
