// Replays training: a dot per run moves over the map, and the outcome's curves grow in step.
// A dot goes through a state's bar as its run goes through its stay there, so one that is behind the
// line of the present is slower than the median run.
"use strict";
(() => {
  const figure = document.querySelector("figure.map");
  const play = document.getElementById("replay-play");
  if (!figure || !play) return;
  const plot = figure.querySelector(".plot");
  const [moment, told] = ["replay-moment", "replay-told"].map((id) => document.getElementById(id));
  const canvas = figure.querySelector(".replay-curves");
  const DURATION = 12_000; // milliseconds of a whole replay
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const last = Math.max(...selection.runs.map((run) => run.last_step), 1);
  const svg = (name, attributes = {}) => {
    const made = document.createElementNS(canvas.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  let overlay = null;
  let timer = null;
  let step = null; // of the present; null where nothing is replayed

  const isUpright = () => plot.layout.meta.upright;
  const along = () => plot._fullLayout[isUpright() ? "yaxis" : "xaxis"];
  const across = () => plot._fullLayout[isUpright() ? "xaxis" : "yaxis"];
  const scale = (at) => {
    const unit = plot.layout.meta.log_unit;
    return unit ? Math.log10(1 + at / unit) : at;
  };
  const pixel = (axis, value) => axis._offset + axis.d2p(value);

  // Where a run is on the map: in which bar, and how far through it.
  function placeOf(run, bars) {
    const stays = levels.shown().stays[run];
    const stay = stays.find(({ end }) => step <= end) ?? stays.at(-1);
    const share = (Math.min(step, stay.end) - stay.start) / (stay.end - stay.start || 1);
    const bar = bars.get(stay.state);
    return { at: bar.begin + Math.max(share, 0) * (bar.end - bar.begin), lane: bar.lane };
  }

  function barsOfMap() {
    const trace = plot.data.find(({ name }) => name === "states");
    const lengths = isUpright() ? trace.y : trace.x;
    const lanes = isUpright() ? trace.x : trace.y;
    return new Map(
      [...trace.customdata].map((state, i) => [
        state,
        { begin: trace.base[i], end: trace.base[i] + lengths[i], lane: lanes[i] },
      ]),
    );
  }

  const WIDTH = 26; // of a bar, in its own axis
  function drawDots() {
    overlay ??= plot.appendChild(svg("svg", { class: "replay", "aria-hidden": "true" }));
    const bars = barsOfMap();
    const n = selection.runs.length;
    const lit = selection.light();
    const dots = selection.runs.map((_, run) => {
      const { at, lane } = placeOf(run, bars);
      // Each run keeps its own height within a bar.
      const aside = lane + WIDTH * ((run + 0.5) / n - 0.5) * 0.8;
      const [x, y] = isUpright()
        ? [pixel(across(), aside), pixel(along(), at)]
        : [pixel(along(), at), pixel(across(), aside)];
      const dot = svg("circle", { cx: x, cy: y, r: n > 60 ? 2.5 : 3.5 });
      dot.classList.toggle("faint", !lit({ runs: [run] }));
      return dot;
    });
    const now = pixel(along(), scale(step));
    const { _offset: start, _length: length } = across();
    const line = isUpright()
      ? { x1: start, x2: start + length, y1: now, y2: now }
      : { x1: now, x2: now, y1: start, y2: start + length };
    overlay.replaceChildren(svg("line", line), ...dots);
  }

  // The outcome of every run up to the present, on the axis of the map.
  function drawCurves() {
    if (!thresholds.known || !plot.curves) return;
    const { height } = canvas.getBoundingClientRect();
    const axis = isUpright() ? null : along();
    const width = canvas.clientWidth;
    const { low, high } = plot.curves;
    const x = (at) => (axis ? pixel(axis, scale(at)) : (width * at) / last);
    const y = (value) => 4 + (height - 8) * (1 - (value - low) / (high - low || 1));
    const lit = selection.light();
    const lines = plot.curves.runs.map((points, run) => {
      const level = levels.shown();
      const seen = points.filter(([at]) => at <= step);
      const stays = level.stays[run];
      const now = stays.find(({ end }) => step <= end) ?? stays.at(-1);
      const line = svg("polyline", {
        points: seen.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" "),
        stroke: level.colours[now.state],
      });
      line.classList.toggle("faint", !lit({ runs: [run] }));
      return line;
    });
    const { threshold } = selection.chosen;
    const limit = y(threshold ?? thresholds.known.threshold);
    const label = svg("text", { x: 4, y: 12 });
    label.textContent = thresholds.known.label;
    canvas.replaceChildren(
      svg("line", { x1: x(0), x2: x(last), y1: limit, y2: limit, class: "limit" }),
      svg("line", { x1: x(step), x2: x(step), y1: 0, y2: height }),
      ...lines,
      label,
    );
  }

  function draw() {
    figure.classList.toggle("replaying", step !== null);
    if (step === null) {
      overlay?.replaceChildren();
      told.textContent = "";
      return;
    }
    const words = `${thresholds.known?.unit ?? "step"} ${Math.round(step).toLocaleString("en-US")}`;
    told.textContent = words;
    moment.setAttribute("aria-valuetext", words);
    if (!plot.classList.contains("js-plotly-plot")) return;
    drawDots();
    drawCurves();
  }

  function go(to) {
    step = to;
    moment.value = to === null ? 0 : (1000 * to) / last;
    draw();
  }

  function stop() {
    cancelAnimationFrame(timer);
    timer = null;
    play.textContent = "▶ Play";
  }

  function start() {
    if (still.matches) {
      go(last); // who wants no motion has the slider
      return;
    }
    play.textContent = "❚❚ Pause";
    const from = step === null || step >= last ? 0 : step;
    let began = null;
    const tick = (now) => {
      began ??= now;
      const to = Math.min(from + ((now - began) / DURATION) * last, last);
      go(to);
      if (to >= last) return stop();
      timer = requestAnimationFrame(tick);
    };
    timer = requestAnimationFrame(tick);
  }

  play.addEventListener("click", () => (timer === null ? start() : stop()));
  moment.addEventListener("input", () => {
    stop();
    go((Number(moment.value) / 1000) * last);
  });
  document.getElementById("replay-end").addEventListener("click", () => {
    stop();
    go(null);
  });
  plot.addEventListener("map-drawn", () => {
    if (!plot.dataset.replays) plot.on("plotly_afterplot", draw);
    plot.dataset.replays = "yes";
    draw();
  });
  selection.onChange(draw);
})();
