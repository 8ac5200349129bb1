"use strict";
// What the status page and the demo have in common: the servers, their lines, and the feed.

const $ = (selector, within = document) => within.querySelector(selector);
const here = location.pathname.replace(/\/?$/, "/");
const WINDOW = 20_000; // milliseconds of the past that the lines show
const COLOURS = 5;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** Keeps where servers were over time, each as a distance from the primary. */
class Past {
  constructor() {
    this.names = [];
    this.unit = "";
    this.head = 0;
    this.samples = new Map(); // each name keeps its place, and so its colour, when roles change
  }

  add(servers) {
    const time = performance.now();
    this.names = servers.map((server) => server.name);
    this.unit = servers[0].unit;
    this.head = servers[0].position ?? this.head; // else it does not answer: what it last said
    for (const { name, behind, unused } of servers) {
      const of = this.samples.get(name) ?? [];
      of.push({ time, at: unused || behind === null ? null : this.head - behind });
      while (of.length > 2 && of[1].time < time - WINDOW - 1_000) of.shift();
      this.samples.set(name, of);
    }
  }

  number(name) { return [...this.samples.keys()].indexOf(name) % COLOURS; }
}

/** An amount with its unit, as `orm status` writes it. */
function amount(number, unit) {
  if (unit !== "bytes" || number < 1000) {
    return `${number.toLocaleString("en")} ${number === 1 ? unit.slice(0, -1) : unit}`;
  }
  const prefixes = [..."kMGTP"];
  let prefix = prefixes.shift();
  for (number /= 1000; number >= 999.5; number /= 1000) prefix = prefixes.shift();
  return `${Number(number.toPrecision(3))}\u00a0${prefix}B`;
}

/** One card a server; `controls` may add to it, once. */
class Cards {
  constructor(list, controls = () => {}) {
    this.list = list;
    this.controls = controls;
    this.cards = new Map();
  }

  show(servers, past) {
    for (const [name, card] of this.cards) {
      if (past.names.includes(name)) continue;
      card.remove();
      this.cards.delete(name);
    }
    servers.forEach((server, n) => {
      const card = this.cards.get(server.name) ?? this.add(server, past);
      if (this.list.children[n] !== card) this.list.insertBefore(card, this.list.children[n] ?? null);
      const { unused, promoted, behind } = server;
      card.classList.toggle("unused", unused !== null);
      card.classList.toggle("behind", unused === null && (promoted || behind > 0));
      $("h3 span", card).textContent = server.role === server.name ? "" : server.role;
      $(".lag", card).textContent = this.lag(server, servers[0]);
      const where = [server.host, server.place ?? "position unknown"].filter(Boolean).join(", at ");
      $(".why", card).textContent = unused
        ? [server.host, unused].filter(Boolean).join(": ")
        : `${where}, asked ${ago(server.seconds_since_probe)}`;
    });
  }

  lag(server, primary) {
    if (server.unused) return "serves no session";
    if (server.promoted) return "takes writes, and is not the primary";
    if (server === primary) return "takes the writes";
    if (server.behind === null) return "lag unknown";
    if (!server.behind) return primary.unused ? "as far as the primary was" : "up to date";
    const seconds = server.seconds_behind;
    const late = seconds === null ? "" : `, ${seconds.toFixed(1)}\u00a0s at most`;
    return `${amount(server.behind, server.unit)} behind${late}`;
  }

  add(server, past) {
    const card = make("section", undefined, { class: "server card", "data-n": past.number(server.name) });
    const title = make("h3", server.name);
    title.append(make("span", ""));
    const said = make("div");
    said.append(title, make("div", "", { class: "lag num" }), make("p", "", { class: "why dim small num" }));
    card.append(said);
    this.controls(card, server);
    this.cards.set(server.name, card);
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
    const known = shown.flat().map((sample) => sample.at).filter((at) => at !== null);
    if (!known.length) return;

    context.font = "12px system-ui, sans-serif";
    const newest = Math.max(...known);
    const span = Math.max(newest - Math.min(...known), past.unit === "bytes" ? 1_000 : 4);
    const levels = [0, Math.round(span / 2), span].map((less) => [
      less, less ? `\u2212${amount(less, past.unit)}` : "newest",
    ]);
    const widest = (texts) => Math.max(...texts.map((text) => context.measureText(text).width));
    const left = widest(levels.map(([, text]) => text)) + 12;
    const right = widest(past.names) + 12;
    const [top, bottom] = [10, 24];
    const x = (time) => width - right - ((now - time) / WINDOW) * (width - left - right);
    const y = (at) => top + ((newest - at) / span) * (height - top - bottom);

    context.fillStyle = colour("--dim");
    context.strokeStyle = colour("--line");
    context.lineWidth = 1;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const [less, text] of levels) {
      context.beginPath();
      context.moveTo(left, y(newest - less)); context.lineTo(width - right, y(newest - less));
      context.stroke();
      context.fillText(text, left - 8, y(newest - less));
    }
    context.textAlign = "center";
    context.textBaseline = "alphabetic";
    for (const seconds of width - left - right > 240 ? [15, 10, 5] : [10]) context.fillText(`−${seconds} s`, x(now - seconds * 1000), height - 6);
    context.fillText("now", width - right, height - 6);

    const labels = [];
    context.save();
    context.beginPath();
    context.rect(left, 0, width - left, height);
    context.clip();
    shown.forEach((samples, index) => {
      const name = past.names[index];
      const n = past.number(name);
      context.strokeStyle = colour(`--s${n}`);
      context.lineWidth = index ? 2.25 : 3;
      context.setLineDash([[], [7, 4], [2, 3], [9, 3, 2, 3]][n % 4]);
      context.lineJoin = "round";
      context.beginPath();
      let before = null;
      for (const { time, at } of samples) {
        if (at === null) { before = null; continue; }
        if (before === null) context.moveTo(x(time), y(at));
        else { context.lineTo(x(time), y(before)); context.lineTo(x(time), y(at)); }
        before = at;
      }
      if (before !== null) {
        context.lineTo(x(now), y(before));
        labels.push({ n, name, y: y(before) });
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
      context.fillStyle = colour(`--s${label.n}`);
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

  add(routes, past) {
    for (const route of routes.filter(this.which)) {
      $(".empty", this.list)?.remove();
      const item = make("li");
      item.append(
        make("time", new Date(route.time * 1000).toLocaleTimeString([], { hour12: false })),
        make("span", route.server, { class: "who", "data-n": past.number(route.server) }),
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
    feed.add(event.routes, past);
    if (calm.matches) lines.draw();
    more(event);
  });
}
