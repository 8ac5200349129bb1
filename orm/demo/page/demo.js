
// The demo: a client like any other. What it knows of bookmarks is one header.

let bookmark = null; // what the latest response handed out
const TITLES = ["Second thoughts", "A walk", "On waiting", "Late again", "Two clocks", "The long way round"];
let written = 0; // posts so far, each of which is to have a title of its own
let mine = null; // the post that was published last
const score = { on: [0, 0], off: [0, 0] };
const linked = $("#linked");

async function call(method, path, body) {
  const headers = { "content-type": "application/json" };
  if (linked.checked && bookmark) headers["x-bookmark"] = bookmark;
  const began = performance.now();
  const response = await fetch(here + path, { method, headers, body: body && JSON.stringify(body) });
  const took = performance.now() - began;
  const latest = response.headers.get("x-bookmark");
  if (latest) bookmark = latest;
  const content = response.status === 204 ? null : await response.json();
  if (!response.ok) throw new Error(`${response.status}: ${JSON.stringify(content.detail)}`);
  return { ...content, took };
}

function step(method, path, { served, took }) {
  const item = make("li");
  item.append(make("b", `${method} ${path}`), ` served by `,
    make("span", served.server, { class: "who", "data-n": names.indexOf(served.server) }),
    ` in ${Math.round(took)} ms`,
    served.waited ? `, of which it waited ${Math.round(served.waited * 1000)} ms` : "",
    `: ${served.reason}`);
  return item;
}

let names = [];

async function read(steps = []) {
  const listing = await call("GET", "posts");
  steps.push(step("GET", "/posts", listing));
  const found = mine !== null && listing.posts.some((post) => post.id === mine.id);
  const side = score[linked.checked ? "on" : "off"];
  if (mine) { side[1] += 1; if (found) side[0] += 1; }
  for (const [name, [hits, all]] of Object.entries(score)) {
    $(`#score-${name}`).textContent = all ? `${hits} of ${all}` : "–";
  }
  const head = !mine ? "Nothing published yet" : found ? "Your post is there" : "Your post is missing";
  const list = make("ul", undefined, { class: "steps" });
  list.append(...steps);
  const outcome = $("#outcome");
  outcome.className = `outcome ${!mine ? "" : found ? "good" : "bad"}`;
  outcome.replaceChildren(make("strong", head), list);
  if (linked.checked && bookmark) {
    const sent = make("p", "Sent along: ", { class: "small" });
    sent.append(make("code", `x-bookmark: ${bookmark.slice(0, 22)}…`));
    outcome.append(sent);
  } else if (mine && !found) {
    outcome.append(make("p", "It is saved, on the primary. Without a bookmark nothing tells the library"
      + " that this read is yours, so it may see the blog as it was a moment ago. Turn bookmarks on.",
      { class: "small" }));
  }
  show(listing.posts, found);
}

function show(posts, found) {
  const list = $("#posts");
  list.replaceChildren();
  if (mine && !found) list.append(entry({ ...mine, body: "saved, and not to be seen here" }, "ghost"));
  for (const post of posts) list.append(entry(post, mine && post.id === mine.id ? "new" : ""));
}

function entry(post, kind) {
  const item = make("li", undefined, { class: kind });
  item.append(make("b", post.title), make("span", [post.author, post.body].filter(Boolean).join(": "), { class: "dim small" }));
  return item;
}

async function busy(button, work) {
  button.disabled = true;
  try {
    await work();
  } catch (error) {
    const outcome = $("#outcome");
    outcome.className = "outcome bad";
    outcome.replaceChildren(make("strong", "That did not work"), make("p", String(error.message)));
  } finally {
    button.disabled = false;
    button.focus();
  }
}

$("#write").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  busy($("button", form), async () => {
    const title = form.title.value;
    const answer = await call("POST", "posts", { author: Number(form.author.value), title });
    mine = { id: answer.id, title, author: form.author.selectedOptions[0].textContent };
    written += 1;
    const next = TITLES[written % TITLES.length];
    form.title.value = written < TITLES.length ? next : `${next} (${Math.floor(written / TITLES.length) + 1})`;
    await read([step("POST", "/posts", answer)]);
  });
});
$("#again").addEventListener("click", (event) => busy(event.target, () => read()));

linked.addEventListener("change", () => {
  $("#linked-head").textContent = `Bookmarks are ${linked.checked ? "on" : "off"}`;
  $("#linked-why").textContent = linked.checked
    ? "Each request sends what the one before was handed: one header."
    : "Each request is a stranger to the one before.";
});
$("#busy").addEventListener("change", (event) => {
  call("PUT", "neighbour", { busy: event.target.checked });
});

// A lag to set, a pause and an end for each replica.

let settings = {};

function controls(card, server) {
  if (server.role === "primary") return;
  const set = (change) => {
    settings[server.name] = { ...settings[server.name], ...change };
    apply(card, server.name);
    return call("PUT", `replicas/${server.name}`, settings[server.name]);
  };
  const label = make("label");
  const line = make("span", undefined, { class: "slider" });
  line.append(make("span", "Lag"), make("output", "", { class: "num" }));
  const slider = make("input", undefined, {
    type: "range", min: 0, max: 5, step: 0.05, "aria-label": `Lag of ${server.name} in seconds`,
  });
  label.append(line, slider);
  slider.addEventListener("input", () => { $("output", card).textContent = `${Number(slider.value).toFixed(2)} s`; });
  slider.addEventListener("change", () => set({ lag: Number(slider.value) }));
  const buttons = make("div", undefined, { class: "buttons" });
  for (const [state, on, off] of [["paused", "Resume", "Pause"], ["killed", "Revive", "Kill"]]) {
    const button = make("button", off, { type: "button", "data-state": state, "data-on": on, "data-off": off });
    button.addEventListener("click", () => {
      set({ state: settings[server.name].state === state ? "running" : state });
    });
    buttons.append(button);
  }
  const all = make("div", undefined, { class: "controls" });
  all.append(label, buttons);
  card.append(all);
}

function apply(card, name) {
  const { lag, state } = settings[name];
  const slider = $("input", card);
  if (document.activeElement !== slider) slider.value = lag;
  $("output", card).textContent = `${Number(slider.value).toFixed(2)} s`;
  for (const button of card.querySelectorAll("button")) {
    const on = button.dataset.state === state;
    button.setAttribute("aria-pressed", on);
    button.textContent = on ? button.dataset.on : button.dataset.off;
  }
}

const list = $("#servers");
board({
  cards: new Cards(list, controls),
  feed: new Feed($("#feed"), (route) => route.why !== "may_write"),
  url: `${here}events`,
  more(event) {
    names = event.servers.map((server) => server.name);
    settings = event.settings;
    $("#busy").checked = event.busy;
    names.forEach((name, n) => {
      if (!(name in settings)) return;
      Object.assign(list.children[n].dataset, settings[name]); // as the server has it
      apply(list.children[n], name);
    });
  },
});
