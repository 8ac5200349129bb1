"use strict";
// What the status page and the demo have in common: the servers, their lines, and the feed.

const $ = (selector, within = document) => within.querySelector(selector);
const here = location.pathname.replace(/\/?$/, "/");
const WINDOW = 20_000; // milliseconds of the past that the lines show
const calm = matchMedia("(prefers-reduced-motion: reduce)");

function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** Keeps what servers answered over time. */
class Past {
  constructor() { this.names = []; this.samples = new Map(); }

  add(servers) {
    const time = performance.now();
    this.names = servers.map((server) => server.name);
    for (const { name, position, unused } of servers) {
      const of = this.samples.get(name) ?? [];
      of.push({ time, position: unused ? null : position });
      while (of.length > 2 && of[1].time < time - WINDOW - 1_000) of.shift();
      this.samples.set(name, of);
    }
  }

  /** For how long the primary has had something that this position lacks, in words. */
  late(position) {
    const primary = this.samples.get(this.names[0]) ?? [];
    const since = primary.find((sample) => sample.position > position);
    if (!since) return "";
    const over = since === primary[0] ? "over " : ""; // it may have begun long before we looked
    return `, ${over}${((performance.now() - since.time) / 1000).toFixed(1)}\u00a0s`;
  }
}

/** One card a server; `controls` may add to it, once. */
class Cards {
  constructor(list, controls = () => {}) { this.list = list; this.controls = controls; }

  show(servers, past) {
    servers.forEach((server, n) => {
      const card = this.list.children[n] ?? this.add(server, n);
      const late = past.late(server.position);
      card.classList.toggle("unused", server.unused !== null);
      card.classList.toggle("behind", server.unused === null && server.behind > 0);
      $(".lag", card).textContent = this.lag(server, late);
      $(".why", card).textContent = server.unused
        ?? `position ${server.position ?? "unknown"}, asked ${ago(server.seconds_since_probe)}`;
    });
  }

  lag(server, late) {
    if (server.unused) return "serves no session";
    if (server.role === "primary") return "takes the writes";
    if (server.behind === null) return "lag unknown";
    if (!server.behind) return "up to date";
    return `${server.behind} ${server.behind === 1 ? server.unit.slice(0, -1) : server.unit} behind${late}`;
  }

  add(server, n) {
    const card = make("section", undefined, { class: "server card", "data-n": n });
    const title = make("h3", server.name);
    title.append(make("span", server.role === server.name ? "" : server.role));
    const said = make("div");
    said.append(title, make("div", "", { class: "lag num" }), make("p", "", { class: "why dim small num" }));
    card.append(said);
    this.controls(card, server);
    this.list.append(card);
    return card;
  }
}

function ago(seconds) {
  if (seconds === null) return "never yet";
  return seconds < 1 ? "just now" : `${Math.round(seconds)} s ago`;
}

/** Where each server was, over time: one line each. */
class Lines {
  constructor(canvas, past) {
    this.canvas = canvas;
    this.past = past;
    const frame = () => { this.draw(); if (!calm.matches) requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
  }

  draw() {
    const { canvas, past } = this;
    const { clientWidth: width, clientHeight: height } = canvas;
    const scale = devicePixelRatio;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name);
    const now = performance.now();
    const shown = past.names.map((name) => past.samples.get(name));
    const known = shown.flat().map((sample) => sample.position).filter((at) => at !== null);
    if (!known.length) return;

    const [left, right, top, bottom] = [44, 78, 10, 24];
    const low = Math.min(...known);
    const high = Math.max(...known, low + 4);
    const x = (time) => width - right - ((now - time) / WINDOW) * (width - left - right);
    const y = (at) => height - bottom - ((at - low) / (high - low)) * (height - top - bottom);

    context.font = "12px system-ui, sans-serif";
    context.fillStyle = colour("--dim");
    context.strokeStyle = colour("--line");
    context.lineWidth = 1;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const at of [low, Math.round((low + high) / 2), high]) {
      context.beginPath();
      context.moveTo(left, y(at)); context.lineTo(width - right, y(at));
      context.stroke();
      context.fillText(at, left - 8, y(at));
    }
    context.textAlign = "center";
    context.textBaseline = "alphabetic";
    for (const seconds of [15, 10, 5]) context.fillText(`−${seconds} s`, x(now - seconds * 1000), height - 6);
    context.fillText("now", width - right, height - 6);

    const labels = [];
    context.save();
    context.beginPath();
    context.rect(left, 0, width - left, height);
    context.clip();
    shown.forEach((samples, n) => {
      context.strokeStyle = colour(`--s${n % 5}`);
      context.lineWidth = n ? 2.25 : 3;
      context.setLineDash([[], [7, 4], [2, 3], [9, 3, 2, 3]][n % 4]);
      context.lineJoin = "round";
      context.beginPath();
      let before = null;
      for (const { time, position } of samples) {
        if (position === null) { before = null; continue; }
        if (before === null) context.moveTo(x(time), y(position));
        else { context.lineTo(x(time), y(before)); context.lineTo(x(time), y(position)); }
        before = position;
      }
      if (before !== null) {
        context.lineTo(x(now), y(before));
        labels.push({ n, name: past.names[n], y: y(before) });
      }
      context.stroke();
    });
    context.restore();

    context.setLineDash([]);
    context.textAlign = "left";
    context.textBaseline = "middle";
    labels.sort((one, other) => one.y - other.y || one.n - other.n);
    const apart = 15;
    let above = -Infinity; // no two labels on one another: downwards, and back up from the edge
    for (const label of labels) above = label.y = Math.max(label.y, above + apart);
    let below = height - bottom + apart;
    for (const label of labels.reverse()) {
      below = label.y = Math.min(label.y, below - apart);
      context.fillStyle = colour(`--s${label.n % 5}`);
      context.fillText(label.name, width - right + 8, label.y);
    }
  }
}

/** Where transactions went, the latest first. */
class Feed {
  constructor(list, which = () => true, most = 12) {
    Object.assign(this, { list, which, most });
    list.append(make("li", "Nothing yet.", { class: "empty" }));
  }

  add(routes, names) {
    for (const route of routes.filter(this.which)) {
      $(".empty", this.list)?.remove();
      const item = make("li");
      item.append(
        make("time", new Date(route.time * 1000).toLocaleTimeString([], { hour12: false })),
        make("span", route.server, { class: "who", "data-n": names.indexOf(route.server) }),
        make("span", route.reason, { class: "reason" }),
        make("span", route.waited ? `waited ${Math.round(route.waited * 1000)} ms` : "", { class: "num dim" }),
      );
      this.list.prepend(item);
      while (this.list.children.length > this.most) this.list.lastChild.remove();
    }
  }
}

/** Follows a database, and goes on by itself after an interruption. */
function follow(url, show) {
  const online = $("#online");
  const source = new EventSource(url);
  const tell = (on) => {
    online.className = `online small dim ${on ? "on" : "off"}`;
    online.textContent = on ? "live" : "no connection, trying again";
  };
  source.onopen = () => tell(true);
  source.onerror = () => tell(false);
  source.onmessage = (message) => show(JSON.parse(message.data));
}

function board({ cards, feed, url, more = () => {} }) {
  const past = new Past();
  const lines = new Lines($("#lines"), past);
  follow(url, (event) => {
    past.add(event.servers);
    cards.show(event.servers, past);
    feed.add(event.routes, past.names);
    if (calm.matches) lines.draw();
    more(event);
  });
}
