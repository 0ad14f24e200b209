// The front end of the explore panel. `vegaEmbed` comes with the bundle that is put before this file.
// It draws what the kernel says, and tells the kernel what was clicked; it computes nothing.

const SELDOM = 30_000; // milliseconds
const CHARTS = ["groups", "over_time", "overview", "spread"];
const SIX_DIGITS = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

async function unpacked(view) {
  if (!view || !view.byteLength) return null;
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function shown(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") {
    if (value !== 0 && Math.abs(value) < 1e-4) return value.toExponential(2);
    return SIX_DIGITS.format(value);
  }
  return String(value);
}

function tableOf(data, select, chosen) {
  const head = element("tr", {}, ...data.columns.map((name, column) =>
    element("th", { scope: "col", class: data.numeric[column] ? "number" : null }, name)));
  const isChosen = (key) => key && chosen && Object.keys(chosen).length && Object.entries(chosen).every(([k, v]) => key[k] === v);
  const body = data.rows.map((row, place) => {
    const key = data.keys[place];
    const cells = row.map((value, column) =>
      element("td", { class: data.numeric[column] ? "number" : null }, shown(value)));
    const line = element("tr", { "aria-selected": isChosen(key) ? "true" : null }, ...cells);
    if (key && select) {
      const first = cells[0];
      const button = element("button", { type: "button", class: "link", "data-key": JSON.stringify(key), onclick: () => select(isChosen(key) ? {} : key) }, first.textContent);
      button.setAttribute("aria-pressed", isChosen(key) ? "true" : "false");
      first.replaceChildren(button);
    }
    return line;
  });
  const table = element("table", {}, element("caption", {}, data.said), element("thead", {}, head), element("tbody", {}, ...body));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": data.said }, table);
}

// The data of a chart as a table, for those who can't see it.
function twinOf(spec) {
  const sets = spec.datasets ? Object.values(spec.datasets) : [];
  const inline = [spec, ...(spec.layer ?? [])].map((part) => part.data?.values).filter(Array.isArray);
  const records = [...sets, ...inline].sort((a, b) => b.length - a.length)[0] ?? [];
  const columns = [...new Set(records.slice(0, 50).flatMap(Object.keys))];
  const rows = records.slice(0, 200).map((record) => columns.map((name) => record[name] ?? null));
  const numeric = columns.map((name) => records.some((record) => typeof record[name] === "number"));
  const said = records.length > 200 ? `The first 200 of ${records.length} marks` : `${records.length} marks`;
  return tableOf({ columns, rows, numeric, keys: [], said });
}

class Chart {
  constructor(name, clicked) {
    this.name = name;
    this.clicked = clicked;
    this.plot = element("div", { class: `plot ${name}`, "data-chart": name });
    this.twin = element("div");
    this.details = element("details", { class: "twin" }, element("summary", {}, "Data"), this.twin);
    this.details.addEventListener("toggle", () => this.fillTwin());
    this.node = element("div", { class: "chart" }, this.plot, name === "overview" ? null : this.details);
    this.chain = Promise.resolve();
    this.drawn = "";
  }

  // One chart after the other: a view that is embedded while its forerunner is taken away would leak.
  draw(spec) {
    const text = JSON.stringify(spec ?? null);
    if (text === this.drawn) return this.chain;
    this.drawn = text;
    this.spec = spec;
    this.chain = this.chain.then(async () => {
      if (text !== this.drawn) return;
      if (!spec) {
        this.close();
        this.node.hidden = true;
        return;
      }
      this.node.hidden = false;
      const fresh = element("div", { class: "coming" }); // not seen, but laid out: the old drawing stays until it is done
      this.node.append(fresh);
      const made = await vegaEmbed(fresh, spec, { actions: false, renderer: "svg", ast: false, tooltip: { theme: "custom" } });
      this.close();
      this.view = made.view;
      fresh.classList.remove("coming");
      this.plot.replaceChildren(fresh);
      for (const part of fresh.querySelectorAll("[class*=brush_]")) part.setAttribute("aria-hidden", "true");
      this.clicked?.(this.view);
      this.plot.setAttribute("data-drawn", String(Number(this.plot.getAttribute("data-drawn") ?? 0) + 1));
      this.fillTwin();
    }).catch((error) => {
      this.close();
      this.node.querySelector(":scope > .coming")?.remove();
      this.plot.replaceChildren(element("p", { role: "alert" }, `This chart can't be drawn: ${error.message}`));
    });
    return this.chain;
  }

  fillTwin() {
    if (this.details.open && this.spec) this.twin.replaceChildren(twinOf(this.spec));
  }

  close() {
    this.view?.finalize();
    this.view = null;
  }
}

// What has the focus and how far the tables are scrolled, so that a new answer in place of the old one keeps both.
function placeIn(node) {
  const inputs = "button, select, [tabindex]";
  const focused = node.contains(document.activeElement) ? document.activeElement : null;
  const key = focused?.dataset.key;
  const number = [...node.querySelectorAll(inputs)].indexOf(focused);
  const scrolled = [...node.querySelectorAll(".scroll")].map(({ scrollLeft, scrollTop }) => [scrollLeft, scrollTop]);
  return () => {
    node.querySelectorAll(".scroll").forEach((each, place) => {
      if (scrolled[place]?.some(Boolean)) each.scrollTo(...scrolled[place]); // the page is laid out for it
    });
    if (!focused || focused === node || focused.isConnected && document.activeElement === focused) return;
    const all = [...node.querySelectorAll(inputs)];
    const again = key ? all.find((each) => each.dataset.key === key) : all[number];
    again?.focus({ preventScroll: true });
  };
}

function save(name, mime, parts) {
  const link = element("a", { href: URL.createObjectURL(new Blob(parts, { type: mime })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", { class: "offscreen" }, text); // without a secure context there is no clipboard
    button.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const label = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = label; }, 1200);
}

function render({ model, el }) {
  const tell = (kind, content = {}) => model.send({ kind, ...content });
  const set = (changes) => tell("set", { changes });
  const root = element("div", { class: "aggrkit-panel" });
  const stop = [];
  const listen = (name, action) => {
    model.on(`change:${name}`, action);
    stop.push(() => model.off(`change:${name}`, action));
    action();
  };

  // ---- key figures, what goes on, errors
  const figures = element("div", { class: "figures" });
  const status = element("p", { class: "status" });
  const announced = element("p", { class: "offscreen", role: "status", "aria-live": "polite" });
  const progress = element("progress", { "aria-label": "computing" });
  progress.hidden = true;
  const alert = element("p", { class: "error", role: "alert" });
  alert.hidden = true;
  let timer = null;
  let [announcing, announcedAt] = [null, -Infinity];
  stop.push(() => clearTimeout(announcing));
  const announce = (isQuiet) => { // what nobody asked for is not said more often than every half minute
    clearTimeout(announcing);
    const wait = isQuiet ? announcedAt + SELDOM - performance.now() : 0;
    const say = () => { [announced.textContent, announcedAt] = [status.textContent, performance.now()]; };
    if (wait <= 0) say();
    else announcing = setTimeout(say, wait);
  };
  const figure = (label, value) =>
    element("div", {}, element("span", { class: "label" }, label), element("span", { class: "value" }, value));
  const showFigures = () => {
    const items = (model.get("figures").items ?? []).map(({ label, value }) => figure(label, value));
    const { on, changed } = model.get("follow");
    const since = changed ? `last change ${new Date(changed).toLocaleTimeString()}` : "no change yet";
    figures.replaceChildren(...items, ...(on ? [figure("following", since)] : []));
  };
  listen("figures", () => {
    showFigures();
    status.textContent = model.get("figures").status ?? "";
    if (status.textContent !== announced.textContent) announce(model.get("figures").quiet);
  });
  listen("busy", () => {
    clearTimeout(timer);
    root.setAttribute("aria-busy", String(model.get("busy")));
    if (model.get("busy")) timer = setTimeout(() => { progress.hidden = false; }, 500);
    else progress.hidden = true;
  });
  listen("error", () => {
    alert.textContent = model.get("error");
    alert.hidden = !model.get("error");
  });

  // ---- whether the panel follows its source
  const trouble = element("p", { class: "trouble", role: "status" });
  const why = element("span", { class: "why", role: "status" });
  const follows = element("input", { type: "checkbox", role: "switch", onchange: () => {
    const { able, on, why: reason } = model.get("follow");
    if (able) tell("follow", { on: follows.checked });
    else [follows.checked, why.textContent] = [on, reason];
  } });
  const following = element("label", { class: "switch" }, follows, "Follow");
  listen("follow", () => {
    const { able, on, why: reason, trouble: wrong } = model.get("follow");
    follows.checked = Boolean(on);
    follows.setAttribute("aria-disabled", String(!able));
    following.title = able ? "Show by itself what comes in" : `Can't follow: ${reason}`;
    trouble.textContent = wrong ?? "";
    trouble.hidden = !wrong;
    showFigures();
  });
  const view = { id: Math.random().toString(36).slice(2) };
  tell("view", { ...view, open: true });
  stop.push(() => {
    try {
      tell("view", { ...view, open: false });
    } catch { /* the kernel is gone, and with it what would follow */ }
  });

  // ---- charts
  let dragged = null; // the brush as it was left by a drag, and not as a new drawing has it
  const charts = {
    groups: new Chart("groups", (view) => {
      view.addEventListener("click", (_, item) => {
        const { row, column, label } = item?.datum ?? {};
        if (row !== undefined || label !== undefined) tell("click", { datum: { row, column, label } });
      });
      view.addEventListener("dblclick", () => set({ cell: {} }));
    }),
    over_time: new Chart("over_time"),
    overview: new Chart("overview", (view) => {
      view.addSignalListener("brush", (_, value) => { dragged = Object.values(value)[0] ?? []; });
    }),
    spread: new Chart("spread"),
  };
  let isDragging = false;
  const draw = async (name) => { // a strip that someone drags over is drawn when they let it go
    const spec = await unpacked(model.get(name));
    if (name !== "overview" || !isDragging) charts[name].draw(spec);
  };
  charts.overview.plot.addEventListener("pointerdown", () => { [isDragging, dragged] = [true, null]; });
  const ended = () => {
    if (isDragging && dragged !== null) {
      tell("brush", dragged.length ? { start: +dragged[0], end: +dragged[1] } : { start: null, end: null });
    }
    if (isDragging) [isDragging, dragged] = [false, null], draw("overview");
  };
  window.addEventListener("pointerup", ended);
  stop.push(() => window.removeEventListener("pointerup", ended));
  for (const name of CHARTS) {
    listen(name, () => draw(name));
  }

  // ---- buttons
  const button = (text, action, title) => element("button", { type: "button", onclick: action, title }, text);
  const png = async () => {
    for (const name of ["groups", "over_time", "spread"]) {
      const view = charts[name].view;
      if (!view) continue;
      view.background("white");
      const url = await view.toImageURL("png", 2);
      view.background("transparent");
      save(`${name}.png`, "image/png", [await (await fetch(url)).blob()]);
    }
  };
  const tools = element("div", { class: "tools", role: "toolbar", "aria-label": "panel" }, following,
    button("Undo", () => tell("undo"), "Go back to what was shown before"),
    button("Reset", () => tell("reset"), "Show everything again"),
    button("Exact", () => tell("exact"), "Read all observations for this picture"),
    button("Save PNG", png, "Save the charts as pictures"),
    button("Save HTML", () => tell("save", { what: "html" }), "Save charts and table as a page that needs no network"),
    button("Save CSV", () => tell("save", { what: "csv" }), "Save the answer below as CSV"));
  const saving = (message, buffers) => {
    if (message.kind === "file") save(message.name, message.mime, buffers);
  };
  model.on("msg:custom", saving);
  stop.push(() => model.off("msg:custom", saving));

  // ---- answers
  const names = model.get("tabs");
  const tabs = element("div", { class: "tabs", role: "tablist", "aria-label": "answers" });
  const panel = element("div", { class: "answer", role: "tabpanel", tabindex: "0" });
  const id = `aggrkit-${Math.random().toString(36).slice(2)}`;
  panel.id = `${id}-answer`;
  let current = null;
  let asked = null; // the tab that someone opened and the kernel has not heard of yet
  const own = [];
  const choose = (name, focus) => {
    current = name;
    if (focus && name !== "code") asked = name;
    for (const tab of tabs.children) {
      const isOpen = tab.dataset.tab === name;
      tab.setAttribute("aria-selected", String(isOpen));
      tab.tabIndex = isOpen ? 0 : -1;
      if (isOpen) {
        panel.setAttribute("aria-labelledby", tab.id);
        if (focus) tab.focus();
      }
    }
    if (name === "code") showCode();
    else if (answer && answer.tab === name) showAnswer();
    else panel.replaceChildren(element("p", { class: "waiting" }, "…"));
    if (name !== "code") set({ tab: name });
  };
  for (const name of [...names, "code"]) {
    const label = name[0].toUpperCase() + name.slice(1);
    tabs.append(element("button", {
      type: "button", role: "tab", id: `${id}-${name}`, "data-tab": name, "aria-controls": panel.id, onclick: () => choose(name, true),
    }, label));
  }
  tabs.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = [...tabs.children];
    const place = all.findIndex((tab) => tab.dataset.tab === current);
    choose(all[(place + step + all.length) % all.length].dataset.tab, true);
  });

  let answer = null;
  let code = null;
  let drawnFor = null; // the tab whose charts are in `own`, which are drawn anew in their places
  let inputs = { text: "", node: null };
  const showAnswer = () => {
    const specs = answer.charts ?? [];
    const isSame = drawnFor === answer.tab && own.length === specs.length && panel.querySelector(".drawings");
    const restore = isSame ? placeIn(panel) : () => {};
    if (!isSame) {
      own.splice(0).forEach((chart) => chart.close());
      own.push(...specs.map((_, place) => new Chart(`answer${place}`)));
      inputs = { text: "", node: null };
    }
    drawnFor = answer.tab;
    own.forEach((chart, place) => chart.draw(specs[place]));
    const text = JSON.stringify(answer.sides ?? null);
    if (text !== inputs.text) inputs = { text, node: answer.sides ? sidesOf(answer.sides, set) : null };
    const words = element("div", { class: "words" }, ...(answer.words ?? []).map((line) => element("p", {}, line)));
    const drawings = element("div", { class: "drawings" }, ...own.map((chart) => chart.node));
    const list = answer.table ? tableOf(answer.table, (cell) => set({ cell }), answer.cell) : null;
    panel.replaceChildren(...[inputs.node, words, drawings, list].filter(Boolean));
    restore();
  };
  const showCode = () => {
    const block = (title, text) => {
      const copying = button(`Copy ${title}`, () => copy(text, copying));
      return element("section", {}, element("div", { class: "tools" }, element("strong", {}, title), copying),
        element("pre", { tabindex: "0" }, text));
    };
    panel.replaceChildren(...(code ? [block("Python", code.python), block("SQL", code.sql)] : []));
  };
  listen("answer", async () => {
    const found = await unpacked(model.get("answer"));
    if (!found) return;
    answer = found;
    if (model.get("tab") === asked) asked = null;
    if (current === null) {
      current = found.tab;
      for (const tab of tabs.children) {
        tab.setAttribute("aria-selected", String(tab.dataset.tab === current));
        tab.tabIndex = tab.dataset.tab === current ? 0 : -1;
      }
      panel.setAttribute("aria-labelledby", `${id}-${current}`);
    } else if (asked === null && current !== "code" && current !== found.tab && model.get("tab") === found.tab) {
      choose(found.tab, false);
      return;
    }
    if (current === found.tab) showAnswer();
  });
  listen("code", async () => {
    code = await unpacked(model.get("code"));
    if (current === "code") showCode();
  });

  root.append(
    element("div", { class: "head" }, figures, tools),
    element("div", { class: "line" }, status, progress, why, announced), alert, trouble,
    element("div", { class: "pictures" },
      charts.groups.node,
      element("div", { class: "beside" }, charts.over_time.node, charts.overview.node, charts.spread.node)),
    tabs, panel);
  el.append(root);
  // Keys are for the control that has the focus: else JupyterLab takes the arrows, to go to the next cell.
  const keep = (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true");
  let whole = root;
  const opened = requestAnimationFrame(() => {
    whole = root.closest(".widget-vbox") ?? root;
    whole.addEventListener("focusin", keep);
  });
  stop.push(() => {
    cancelAnimationFrame(opened);
    whole.removeEventListener("focusin", keep);
  });
  return () => {
    stop.forEach((undo) => undo());
    [...Object.values(charts), ...own].forEach((chart) => chart.close());
  };
}

function sidesOf(sides, set) {
  const choice = (label, name, values, value) => {
    const select = element("select", { onchange: () => set({ [name]: values[select.selectedIndex] }) },
      ...values.map((one) => element("option", { selected: one === value }, one === null ? "all others" : String(one))));
    return element("label", {}, `${label} `, select);
  };
  return element("div", { class: "sides" },
    choice("Compare by", "by", sides.columns, sides.by),
    choice("Baseline", "baseline", sides.baselines, sides.baseline),
    sides.currents.length ? choice("Current", "current", sides.currents, sides.current) : null);
}

export default { render };
