// The map's controls and its panel: what moves, when, how sharp, found again, and in which runs.
"use strict";
(() => {
  const figure = document.querySelector("figure.map");
  if (!figure) return;
  const plot = figure.querySelector(".plot");
  const [about, facts] = ["map-about", "map-facts"].map((id) => document.getElementById(id));
  const slider = document.getElementById("level");
  const coarsestFirst = [...levels.all].reverse();
  const element = (name, text, properties = {}) =>
    Object.assign(document.createElement(name), { textContent: text, ...properties });
  let drawnLevel = null;

  // --- the panel ---

  const [UP, DOWN] = ["#d98018", "#8d7cc3"];
  const HEADINGS = { when: "When", "how sharp": "How sharp", "how sure": "How sure", outcomes: "Outcomes", runs: "Runs" };
  const SOME = 12; // runs named

  function moves(list, largest) {
    const rows = element("ul", "", { className: "moves" });
    for (const [feature, value, own] of list) {
      const bar = element("i", "");
      const share = (50 * Math.abs(value)) / largest;
      bar.style.width = `${share}%`;
      bar.style.left = value < 0 ? `${50 - share}%` : "50%";
      bar.style.background = value < 0 ? DOWN : UP;
      const way = element("span", "", { className: "way" });
      way.append(bar);
      const sign = value < 0 ? "−" : "+";
      const row = element("li", "");
      const number = `${sign}${Math.abs(value).toFixed(1)} sd${own ? ` (${own})` : ""}`;
      row.append(element("bdi", feature), way, element("span", number));
      rows.append(row);
    }
    return rows;
  }

  function runs(numbers) {
    const box = element("div", "", { className: "runs" });
    const choose = (text, chosen) =>
      box.append(
        element("button", text, { type: "button", onclick: () => selection.toggle.runs(chosen) }),
      );
    if (numbers.length < selection.runs.length && numbers.length > 1) choose("highlight all", numbers);
    for (const run of numbers.slice(0, SOME)) choose(selection.runs[run].label, [run]);
    if (numbers.length > SOME) box.append(element("span", `and ${numbers.length - SOME} more`));
    return box;
  }

  function show(value) {
    if (!plot.facts) return;
    const [kind, number] = value.split(" ");
    const all = plot.facts[kind === "state" ? "states" : "changes"];
    const told = all[Number(number)];
    if (!told) return;
    about.value = value;
    const largest = Math.max(...all.flatMap((one) => one.moves.map(([, v]) => Math.abs(v))), 1e-9);
    const list = element("dl", "");
    for (const [key, lines] of Object.entries(told.lines)) {
      if (!lines.length) continue;
      const cell = element("dd", "");
      cell.append(...lines.map((line) => element("p", line)));
      if (key === "runs") cell.append(runs(told.runs));
      list.append(element("dt", HEADINGS[key]), cell);
    }
    const heading = kind === "state" ? "Furthest from the average" : "What moves";
    const movements = element("div", "");
    movements.append(element("div", heading, { className: "quiet" }), moves(told.moves, largest));
    facts.replaceChildren(
      element("h3", told.title),
      list,
      ...(told.moves.length ? [movements] : []),
    );
  }

  function fill() {
    const { names } = levels.shown();
    const { changes } = plot.facts;
    const options = (label, items) => {
      const group = element("optgroup", "", { label });
      items.forEach(([text, value]) => group.append(element("option", text, { value })));
      return group;
    };
    about.replaceChildren(
      options("States", names.map((name, k) => [name, `state ${k}`])),
      ...(changes.length
        ? [options("Changes", changes.map(({ title }, i) => [title, `change ${i}`]))]
        : []),
    );
    const judged = changes.findIndex(({ lines }) => /^(sharp|gradual)/.test(lines["how sharp"][0] ?? ""));
    show(judged >= 0 ? `change ${judged}` : "state 0");
  }

  // What a trace or label of the map shows, as an option of the panel.
  function meant(meta, own) {
    if (meta?.each === "state") return `state ${own}`;
    if (meta?.state !== undefined) return `state ${meta.state}`;
    const [from, to] = meta?.states ?? [];
    const i = plot.facts.changes.findIndex((change) => change.from === from && change.to === to);
    return i >= 0 ? `change ${i}` : null;
  }

  about.addEventListener("change", () => show(about.value));
  plot.addEventListener("pointerover", ({ target }) => {
    const label = target.closest?.(".annotation");
    const value = label && meant(JSON.parse(plot.layout.annotations[label.dataset.index].name));
    if (value) show(value);
  });
  plot.addEventListener("map-drawn", () => {
    if (levels.shown() !== drawnLevel) {
      drawnLevel = levels.shown();
      fill();
      const { state } = selection.chosen;
      if (state !== null) show(`state ${state}`);
    }
    if (plot.dataset.listening) return;
    plot.dataset.listening = "yes";
    plot.on("plotly_hover", ({ points: [point] }) => {
      const value = meant(point.data.meta, point.customdata);
      if (value) show(value);
    });
    plot.on("plotly_clickannotation", ({ annotation }) => {
      const value = meant(JSON.parse(annotation.name));
      if (value) show(value);
      if (value?.startsWith("state")) selection.toggle.state(Number(value.split(" ")[1]));
    });
  });

  // --- the zoom through the levels ---

  const ofTold = `${levels.told} ${levels.told === 1 ? "state" : "states"}`;

  function tell() {
    const level = levels.shown();
    // Tables and figures that are of one map say so while the page shows another.
    for (const note of document.querySelectorAll(".of-level")) {
      note.hidden = level.n_states === levels.told;
      note.textContent = `Of the map with ${ofTold}, not of the one shown.`;
    }
    if (slider) {
      slider.value = coarsestFirst.indexOf(level);
      const n = level.n_states;
      const words = [
        `${n} ${n === 1 ? "state" : "states"}`,
        ...(n === levels.supported ? ["the supported map"] : []),
        ...(n !== levels.told ? [`sentences are of the map with ${ofTold}`] : []),
      ].join("; ");
      slider.setAttribute("aria-valuetext", words);
      document.getElementById("level-told").textContent = words;
    }
    const { state } = selection.chosen;
    if (state !== null) show(`state ${state}`);
  }
  if (slider)
    slider.addEventListener("input", () =>
      selection.pick.level(coarsestFirst[Number(slider.value)].n_states),
    );
  selection.onChange(tell);

  // --- the view: zoom and pan along time ---

  function look(change) {
    const axis = plot.layout.meta.upright ? "yaxis" : "xaxis";
    const { whole } = plot;
    const [low, high] = plot._fullLayout[axis].range;
    const [middle, half] = [(low + high) / 2, (high - low) / 2];
    const [center, size] = {
      in: [middle, half / 1.5],
      out: [middle, half * 1.5],
      earlier: [middle - half / 2, half],
      later: [middle + half / 2, half],
      all: [(whole[0] + whole[1]) / 2, (whole[1] - whole[0]) / 2],
    }[change];
    Plotly.relayout(plot, { [`${axis}.range`]: [center - size, center + size] });
  }
  figure.addEventListener("click", ({ target }) => {
    const { view } = target.closest("[data-view]")?.dataset ?? {};
    if (view) look(view);
  });
  const KEYS = { "+": "in", "=": "in", "-": "out", ArrowLeft: "earlier", ArrowRight: "later", 0: "all" };
  plot.addEventListener("keydown", (event) => {
    if (!KEYS[event.key] || event.ctrlKey || event.metaKey || event.target !== plot) return;
    event.preventDefault();
    look(KEYS[event.key]);
  });
})();
