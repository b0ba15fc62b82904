// Draws the figures as they come into view, and again when a control, the width, the colour scheme
// or the medium changes; dims in them what is not chosen, and turns clicks into choices.
"use strict";
(() => {
  const themes = read("themes");
  const narrow = window.matchMedia("(max-width: 40rem)");
  const touch = window.matchMedia("(pointer: coarse)");
  const plots = [...document.querySelectorAll(".plot")];
  const isMap = (plot) => plot.dataset.map !== undefined;
  const isDrawn = (plot) => plot.classList.contains("js-plotly-plot");
  const control = (plot, name) =>
    plot.closest("figure").querySelector(`select[data-control="${name}"]`);
  const config = {
    displaylogo: false,
    // Plotly's "Share chart" would send the figure to its makers' server.
    showSendToCloud: false,
    plotlyServerURL: "",
    responsive: true,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg" },
  };
  const KINDS = {
    i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array,
    u4: Uint32Array, f4: Float32Array, f8: Float64Array,
  }; // prettier-ignore
  let printing = false;
  const template = () => (scheme.isDark && !printing ? themes.dark : themes.light);

  const specs = () => unpacked.data.specs;

  function decoded(values) {
    if (!values?.bdata || values.shape) return values; // Plotly knows matrices
    const bytes = Uint8Array.from(atob(values.bdata), (character) => character.charCodeAt(0));
    return new KINDS[values.dtype](bytes.buffer);
  }

  function set(target, path, value) {
    const keys = path.split(".");
    const last = keys.pop();
    keys.reduce((inner, key) => (inner[key] ??= {}), target)[last] = value;
  }

  // In a notebook, columns are chosen from a menu within the figure; here from a control above it.
  function takeColumn(plot, data, layout) {
    const buttons = layout.updatemenus?.[0].buttons;
    delete layout.updatemenus;
    if (!buttons) return;
    const [changes, changesOfLayout] = buttons[control(plot, "column").value].args;
    for (const [path, values] of Object.entries(changes))
      data.forEach((trace, i) => set(trace, path, values[i]));
    for (const [path, value] of Object.entries(changesOfLayout)) set(layout, path, value);
  }

  function takeScale(plot, data, layout) {
    const scale = control(plot, "scale");
    if (!scale) return;
    const positive = data.every(({ y }) => y.every((value) => !(value <= 0)));
    scale.options[1].disabled = !positive;
    scale.options[1].textContent = positive ? "log" : "log (not with values of 0 or below)";
    if (!positive) scale.value = "linear";
    if (scale.value !== "log") return;
    const values = data.flatMap(({ y }) => [...y].filter(Number.isFinite));
    const high = values.reduce((a, b) => Math.max(a, b), 0);
    const decades = Math.log10(high / values.reduce((a, b) => Math.min(a, b), high));
    for (const key of Object.keys(layout).filter((k) => /^yaxis\d*$/.test(k)))
      Object.assign(layout[key], { type: "log", dtick: decades > 3 ? 1 : "D2" });
  }

  function takeTime(plot, data, layout) {
    const time = control(plot, "time");
    if (!time) return;
    time.options[2].disabled = !axes.hasShare(data);
    if (time.selectedOptions[0].disabled) time.value = "step";
    axes.rescale(data, layout, time.value);
  }

  // The outcome that defines convergence comes first in its figure.
  function outcomes() {
    const { data } = structuredClone(specs()["outcome_curves-spec"] ?? { data: [] });
    for (const trace of data) for (const key of ["x", "y"]) trace[key] = decoded(trace[key]);
    return levels.smallCurves(data);
  }

  // Where there is little room, headings of rows say how many converged, states of maps of groups
  // have their number alone, and their changes none; tables and cards have the rest.
  function shortenLabels(layout) {
    const about = ({ name }) => (name ? JSON.parse(name) : {});
    layout.annotations = (layout.annotations ?? []).filter((label) => !about(label).spare);
    for (const label of layout.annotations)
      if (about(label).state !== undefined) label.text = label.text.replace(/ · .*$/, "");
      else if (about(label).group !== undefined)
        label.text = label.text.replace(/ converged, .*$/, " converged");
  }

  const ofOneRun = (run) => specs()[`layers-of-run-${run}`];
  const isOfRuns = (plot) => plot.dataset.spec === "layers-spec" && ofOneRun(0) !== undefined;

  // Of the layers, those of the one run that is chosen, where the page has it by this metric.
  function figureOf(plot) {
    const { runs } = selection.chosen;
    const alone = isOfRuns(plot) && runs.length === 1 ? ofOneRun(runs[0]) : undefined;
    const n = alone?.layout.updatemenus?.[0].buttons.length ?? 1;
    const column = Number(control(plot, "column")?.value ?? 0);
    return alone && column < n ? alone : specs()[plot.dataset.spec];
  }

  function draw(plot) {
    const isNarrow = narrow.matches && !printing;
    const map = `map-${levels.shown()?.n_states}-${isNarrow ? "narrow" : "wide"}`;
    const { data: made, layout } = structuredClone(isMap(plot) ? specs()[map] : figureOf(plot));
    takeColumn(plot, made, layout);
    for (const trace of made)
      for (const key of ["x", "y", "base", "customdata"]) trace[key] = decoded(trace[key]);
    plot.followsLevel = isMap(plot) || levels.follows(made, layout);
    plot.followsThreshold = thresholds.follows(layout);
    const data = isMap(plot)
      ? made
      : thresholds.applied(levels.recoloured(made, layout), layout);
    plot.whole = isMap(plot) && (layout.meta.upright ? layout.yaxis : layout.xaxis).range;
    takeScale(plot, data, layout);
    takeTime(plot, data, layout);
    layout.template = template();
    if (isNarrow && !isMap(plot)) shortenLabels(layout);
    // A zoom stays as long as the axes mean the same.
    layout.uirevision = ["column", "scale", "time"].map((name) => control(plot, name)?.value).join();
    // Paper does not resize what is on it: the width must be right before it is printed.
    layout.width = printing ? plot.clientWidth : undefined;
    // A finger scrolls the page; it must not be caught by zooming.
    layout.dragmode = touch.matches ? false : isMap(plot) ? "pan" : undefined;
    plot.style.minHeight = `${layout.height}px`;
    const isNew = !isDrawn(plot);
    if (isNew) plot.replaceChildren();
    Plotly.react(plot, data, layout, isMap(plot) ? { ...config, displayModeBar: false } : config);
    if (isNew) listen(plot);
    if (isMap(plot)) {
      plot.curves ??= outcomes();
      plot.facts = specs()[`map-${levels.shown().n_states}-facts`];
      plot.dispatchEvent(new Event("map-drawn"));
    }
    highlight(plot);
  }

  // --- what is chosen is lit, the rest dimmed: by style alone, because drawing again is slow ---

  // The numbers of what a trace, or one of its points, shows (see links.py).
  function shown(meta, own) {
    const { run, runs, group, state, states } = { ...meta, ...(meta?.each && { [meta.each]: own }) };
    return {
      runs: runs ?? (run === undefined ? undefined : [run]),
      states: states ?? (state === undefined ? undefined : [state]),
      group,
    };
  }

  function highlight(plot) {
    const lit = selection.light();
    // A figure of the level that is told has no states of another.
    const hasStates = plot.followsLevel || selection.chosen.level === null;
    const dim = (element, { states: k, ...what }) =>
      element.classList.toggle("dim", !lit({ ...what, states: hasStates ? k : undefined }));
    if (isMap(plot)) keepColours(plot);
    const few = selection.chosen.runs.length > 0;
    for (const element of plot.querySelectorAll(".trace")) {
      const { meta, customdata } = plot.data[element.__data__?.[0]?.trace.index] ?? {};
      if (!meta) continue;
      if (meta.each)
        for (const point of element.querySelectorAll(".point, .textpoint"))
          dim(point, shown(meta, customdata[point.__data__.i]));
      else {
        dim(element, shown(meta));
        element.classList.toggle("lit", few && meta.run !== undefined);
      }
    }
    for (const element of plot.querySelectorAll(".annotation")) {
      const { name } = plot.layout.annotations[element.dataset.index] ?? {};
      if (name) dim(element, shown(JSON.parse(name)));
    }
    const { runs, states } = plot.layout.meta ?? {};
    if (runs || states) {
      const named = plot.layout.yaxis.tickvals;
      for (const tick of plot.querySelectorAll("g.ytick")) {
        const at = [...decoded(named)].indexOf(tick.__data__.x);
        dim(tick, runs ? { runs: [runs[at]] } : { states: [states[at]] });
      }
    }
    if (states) veil(plot, states.filter((k) => hasStates && !lit({ states: [k] })));
  }

  // What is dimmed without being seen through is a mixture with its own colour.
  function keepColours(plot) {
    for (const { style } of plot.querySelectorAll(".trace path, .annotation path")) {
      style.setProperty("--own-fill", style.fill || "transparent");
      style.setProperty("--own-stroke", style.stroke || "transparent");
    }
  }

  // The rows of a heat map are one picture: a veil lies over those that are not chosen.
  function veil(plot, states) {
    const { bgcolor } = template().layout.hoverlabel;
    const look = { type: "rect", xref: "paper", x0: 0, x1: 1, line: { width: 0 }, opacity: 0.75 };
    const shapes = states.map((k) => ({ ...look, y0: k - 0.5, y1: k + 0.5, fillcolor: bgcolor }));
    if (JSON.stringify(plot.layout.shapes ?? []) !== JSON.stringify(shapes))
      Plotly.relayout(plot, { shapes });
  }

  function choose(what, add) {
    if (what.runs?.length === 1) selection.toggle.runs(what.runs, add);
    else if (what.group !== undefined) selection.toggle.group(what.group);
    else if (what.runs) selection.toggle.runs(what.runs, add);
    else if (what.states) selection.toggle.state(what.states[0]);
  }

  function listen(plot) {
    plot.on("plotly_click", ({ points: [point], event }) => {
      const row = plot.layout.meta?.states && { states: [point.y] };
      const { shiftKey, ctrlKey, metaKey } = event;
      choose(row || shown(point.data.meta, point.customdata), shiftKey || ctrlKey || metaKey);
    });
    plot.on("plotly_legendclick", ({ data, curveNumber }) => {
      const { state } = data[curveNumber].meta ?? {};
      if (state === undefined) return true;
      selection.toggle.state(state);
      return false;
    });
    plot.on("plotly_legenddoubleclick", () => false);
    // Plotly has drawn parts again, as after a zoom.
    plot.on("plotly_afterplot", () => highlight(plot));
  }

  // --- when to draw ---

  function print(begins) {
    if (!window.Plotly) return; // whoever prints so soon has no figures
    printing = begins;
    document.body.classList.toggle("printing", begins);
    plots.forEach(draw);
    if (!begins) plots.forEach((plot) => Plotly.Plots.resize(plot));
  }

  const redraw = (which) => plots.filter(isDrawn).filter(which).forEach(draw);
  const nearView = new IntersectionObserver(
    (entries) => {
      for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
        nearView.unobserve(target);
        unpacked.plotly.then(() => isDrawn(target) || draw(target));
      }
    },
    { rootMargin: "300px 0px" },
  );
  plots.forEach((plot) => nearView.observe(plot));

  document.addEventListener("change", ({ target }) => {
    const name = target.dataset?.control;
    if (!name) return;
    const changed = target.closest("figure").querySelector(".plot");
    if (name !== "time") return redraw((plot) => plot === changed);
    // All figures of steps have the same axis.
    for (const other of document.querySelectorAll('select[data-control="time"]'))
      other.value = target.value;
    redraw((plot) => control(plot, "time"));
  });
  // At another level or threshold, or of another run, the figures that follow it are drawn again.
  let drawn = { level: null, threshold: null, runs: "" };
  selection.onChange(() => {
    const { level, threshold } = selection.chosen;
    const runs = selection.chosen.runs.join();
    const isOther = {
      level: level !== drawn.level,
      threshold: threshold !== drawn.threshold,
      runs: runs !== drawn.runs,
    };
    drawn = { level, threshold, runs };
    for (const plot of plots.filter(isDrawn))
      if (
        (isOther.level && plot.followsLevel) ||
        (isOther.threshold && plot.followsThreshold) ||
        (isOther.runs && isOfRuns(plot))
      )
        draw(plot);
      else highlight(plot);
  });
  narrow.addEventListener("change", () => redraw(isMap));
  scheme.onChange(() => redraw(() => true));
  window.addEventListener("beforeprint", () => print(true));
  window.addEventListener("afterprint", () => print(false));
})();
