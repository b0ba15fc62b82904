// The levels of the zoom around the map, and strips and curves in the colours of the level shown.
"use strict";
const levels = (() => {
  const { told, supported, levels: all } = read("levels");
  for (const level of all) {
    // Of every run, its stays one after the other: state, start and end.
    level.stays = level.stays.map((flat) =>
      Array.from({ length: flat.length / 3 }, (_, i) => {
        const [state, start, end] = flat.slice(3 * i, 3 * i + 3);
        return { state, start, end };
      }),
    );
    level.visited = level.stays.map((stays) => [...new Set(stays.map(({ state }) => state))]);
  }
  const at = (n) => all.find((level) => level.n_states === n);
  const shown = () => at(selection.chosen.level ?? told);
  const isStrip = ({ type, meta }) =>
    type === "bar" && meta?.each === "run" && meta.state !== undefined;
  const isCurve = ({ meta }) => meta?.run !== undefined && meta.state !== undefined;

  const markup = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
  const asText = (name) => name.replace(/[&<>]/g, (letter) => markup[letter]);
  const steps = (step) => step.toLocaleString("en-US");

  // A trace per state, as of the level that the figure was made for.
  function strips(traces, { stays, names, colours }) {
    const row = new Map(traces.flatMap((t) => [...t.customdata].map((run, i) => [run, t.y[i]])));
    return colours.map((color, state) => {
      const own = [...row.keys()].flatMap((run) =>
        stays[run].filter((stay) => stay.state === state).map((stay) => ({ ...stay, run })),
      );
      return {
        ...traces[0],
        name: names[state],
        meta: { state, each: "run" },
        marker: { color, line: { width: 0 } },
        base: own.map(({ start }) => start),
        x: own.map(({ start, end }) => end - start),
        y: own.map(({ run }) => row.get(run)),
        customdata: own.map(({ run }) => run),
        hovertext: own.map(
          ({ run, start, end }) =>
            `<b>${asText(selection.runs[run].label)}</b><br>${asText(names[state])}<br>` +
            `${steps(start)} to ${steps(end)}`,
        ),
      };
    });
  }

  // The points of a curve in order of steps, each with whether a line leads to it.
  function wholeCurve(pieces) {
    const points = new Map();
    for (const { x, y, marker } of pieces)
      for (let i = 0; i < x.length; i += 1) {
        if (Number.isNaN(y[i])) continue;
        const known = points.get(x[i]) ?? { x: x[i], y: y[i], joined: false, size: 0 };
        known.joined ||= i > 0 && !Number.isNaN(y[i - 1]);
        known.size = Math.max(known.size, marker?.size?.[i] ?? 0);
        points.set(x[i], known);
      }
    return [...points.values()].sort((a, b) => a.x - b.x);
  }

  const MOST = 150; // points of a small curve

  // Of every run its curve in a figure, as points [step, value] of which no more than some.
  function smallCurves(data) {
    const pieces = selection.runs.map(() => []);
    for (const trace of data.filter(isCurve)) pieces[trace.meta.run].push(trace);
    const runs = pieces.map((own) => {
      const points = wholeCurve(own).map(({ x, y }) => [x, y]);
      const stride = Math.ceil(points.length / MOST);
      return points.filter((_, i) => i % stride === 0 || i === points.length - 1);
    });
    const values = runs.flat().map(([, y]) => y);
    const extreme = (better) => values.reduce((a, b) => better(a, b), values[0] ?? 0);
    return { runs, low: extreme(Math.min), high: extreme(Math.max) };
  }

  // A piece leads from the point before, in the colour of the state that it leads to.
  function curves(pieces, { stays, names, colours }, inLegend) {
    const points = wholeCurve(pieces);
    const { run } = pieces[0].meta;
    const isInLegend = pieces[0].legendgroup !== undefined;
    const stateAt = (step) =>
      (stays[run].find(({ end }) => step <= end) ?? stays[run].at(-1)).state;
    const made = new Map();
    points.forEach((point, i) => {
      const state = stateAt(point.x);
      const drawn = made.get(state) ?? { x: [], y: [], size: [] };
      made.set(state, drawn);
      const add = (x, y, size) => [drawn.x.push(x), drawn.y.push(y), drawn.size.push(size)];
      const before = points[i - 1];
      if (!point.joined || drawn.x.at(-1) !== before.x) {
        if (drawn.x.length) add(point.x, NaN, 0);
        if (point.joined) add(before.x, before.y, 0);
      }
      add(point.x, point.y, point.size);
    });
    return [...made].map(([state, { x, y, size }]) => {
      const first = !inLegend.has(state);
      inLegend.add(state);
      return {
        ...pieces[0],
        x,
        y,
        name: names[state],
        meta: { ...pieces[0].meta, state },
        mode: size.some(Boolean) ? "lines+markers" : "lines",
        marker: { ...pieces[0].marker, size, color: colours[state] },
        line: { ...pieces[0].line, color: colours[state] },
        showlegend: first && isInLegend,
        ...(isInLegend && { legendgroup: `state ${state}`, legendrank: 1000 + state }),
      };
    });
  }

  // The traces of a figure, of which strips and curves are those of the level that is shown.
  function recoloured(data, layout) {
    if (selection.chosen.level === null || !follows(data, layout)) return data;
    const level = shown();
    const own = data.filter(isStrip);
    const ofRun = new Map();
    for (const trace of data.filter(isCurve)) {
      const key = `${trace.meta.run} ${trace.yaxis}`;
      ofRun.set(key, [...(ofRun.get(key) ?? []), trace]);
    }
    const inLegend = new Set();
    return [
      ...(own.length ? strips(own, level) : []),
      ...[...ofRun.values()].flatMap((pieces) => curves(pieces, level, inLegend)),
      ...data.filter((trace) => !isStrip(trace) && !isCurve(trace)),
    ];
  }

  const follows = (data, { meta }) =>
    meta?.x === "step" && data.some((trace) => isStrip(trace) || isCurve(trace));
  return { all, told, supported, at, shown, recoloured, follows, smallCurves, asText };
})();
