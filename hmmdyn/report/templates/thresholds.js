// Convergence by another threshold: which run crosses it when, in which order, and what is drawn.
"use strict";
const thresholds = (() => {
  const known = read("crossings");
  const isAbove = known?.direction === "above";
  const holds = (value, threshold) => (isAbove ? value >= threshold : value <= threshold);
  const allows = (value) => Boolean(known) && value >= known.low && value <= known.high;
  const { asText } = levels;
  const count = (n) => n.toLocaleString("en-US", { maximumFractionDigits: 0 });

  // Of every run, as in the table of convergence; null where its outcome is unknown.
  function crossings(threshold) {
    return known.runs.map((run) => {
      if (!run) return null;
      for (let i = 0; i < run.records.length; i += 3) {
        const [value, step, previous] = run.records.slice(i, i + 3);
        if (holds(value, threshold)) return { converged: true, step, previous };
      }
      return { converged: false, step: run.last, previous: run.previous };
    });
  }

  // The runs of each group that can be compared, as in hmmdyn/dynamics/speed.py.
  function bracketed(threshold) {
    const groups = selection.groups.map(() => []);
    crossings(threshold).forEach((crossing, r) => {
      if (!crossing) return;
      const { converged, step, previous } = crossing;
      const end = converged ? step : previous;
      if (end === null) return;
      const before = previous ?? -1;
      const after = before < 0 && end > 0 ? 0 : before;
      groups[selection.runs[r].group].push({ after: converged ? after : end, end, converged });
    });
    return groups;
  }

  // Fastest first, then runs that had not converged, then those whose outcome is unknown.
  function inOrder(numbers, threshold) {
    const crossed = crossings(threshold);
    const place = (r) => {
      const c = crossed[r];
      return [c ? (c.converged ? 0 : 1) : 2, c ? c.step : 0, r];
    };
    return [...numbers].sort((a, b) => {
      const [p, q] = [place(a), place(b)];
      return p[0] - q[0] || p[1] - q[1] || p[2] - q[2];
    });
  }

  // --- what is drawn ---

  const isOfRows = ({ meta, yaxis }) => meta?.each === "run" && (yaxis ?? "y") === "y";

  // Strips of runs without states: until they converge, and from there on.
  function untilConverged(order, crossed, converged) {
    const own = order.filter((run) => (converged ? crossed[run]?.converged : crossed[run]));
    const begin = (run) => (converged ? crossed[run].step : 0);
    const end = (run) => (converged ? selection.runs[run].last_step : crossed[run].step);
    const what = converged ? "converged" : "not yet converged";
    return {
      customdata: own,
      base: own.map(begin),
      x: own.map((run) => end(run) - begin(run)),
      hovertext: own.map((run) => `<b>${asText(selection.runs[run].label)}</b><br>${what}`),
    };
  }

  // Rows of runs stand in the new order within their group, with marks where runs now converge.
  function rerank(data, layout, threshold) {
    const crossed = crossings(threshold);
    const row = new Map(); // of each run
    for (const { y, customdata } of data.filter(isOfRows))
      [...customdata].forEach((run, i) => row.set(run, y[i]));
    const groups = new Map();
    for (const run of row.keys()) {
      const { group } = selection.runs[run];
      groups.set(group, [...(groups.get(group) ?? []), run]);
    }
    const order = [];
    for (const own of groups.values()) {
      const places = own.map((run) => row.get(run)).sort((a, b) => a - b);
      const ranked = inOrder(own, threshold);
      ranked.forEach((run, i) => row.set(run, places[i]));
      order.push(...ranked);
    }
    const at = new Map(order.map((run) => [row.get(run), run]));
    const fastest = Math.min(...crossed.map((c) => (c?.converged ? c.step : Infinity)));
    const times = ({ converged, step }) => {
      const known = fastest > 0 && Number.isFinite(fastest) && (converged || step > fastest);
      return known ? `   ${converged ? "" : "> "}${Number((step / fastest).toPrecision(2))} ×` : "";
    };
    const kept = data.filter(({ meta }) => meta?.group === undefined); // no means of groups
    for (const trace of kept.filter(isOfRows)) {
      const converged = { converged: true, censored: false }[trace.name];
      if (trace.mode === "text") {
        // What stands beside some rows is of the runs that are now there.
        trace.customdata = [...trace.y].map((y) => at.get(y));
        trace.text = trace.customdata.map((run) => (crossed[run] ? times(crossed[run]) : ""));
        continue;
      }
      if (trace.type === "bar" && trace.meta.state === undefined) {
        Object.assign(trace, untilConverged(order, crossed, converged));
      } else if (converged !== undefined) {
        const own = order.filter((run) => crossed[run]?.converged === converged);
        trace.customdata = own;
        trace.x = own.map((run) => crossed[run].step);
        const what = converged ? "converged at" : "not converged at";
        trace.hovertext = own.map((run) => `${what} ${count(crossed[run].step)}`);
      }
      trace.y = [...trace.customdata].map((run) => row.get(run));
    }
    for (const heading of layout.annotations ?? []) {
      const own = groups.get(JSON.parse(heading.name ?? "{}").group);
      if (!own) continue;
      const known = own.filter((run) => crossed[run]);
      const n = known.filter((run) => crossed[run].converged).length;
      const name = heading.text.match(/^<b>.*<\/b><br>/)?.[0] ?? "";
      heading.text = `${name}${n} of ${known.length} converged`;
    }
    layout.yaxis.tickvals = [...layout.yaxis.tickvals];
    layout.meta.runs = layout.yaxis.tickvals.map((y) => at.get(y));
    layout.yaxis.ticktext = layout.meta.runs.map((run) => asText(selection.runs[run].short));
    return kept;
  }

  function redrawWaiting(data, threshold) {
    const groups = bracketed(threshold);
    const curves = groups.map((runs) => (runs.length ? survival.curve(runs) : []));
    const lastStep = Math.max(...curves.flat().map(({ step }) => step));
    return data.flatMap((trace) => {
      const g = trace.meta.group;
      const curve = curves[g];
      if (!curve.length) return [];
      const end = curve.at(-1);
      const drawn = end.waiting > 0 || end.step === lastStep ? curve : [...curve, { ...end, step: lastStep, nCensored: 0 }];
      if (trace.fill) {
        const upper = drawn.slice(1).flatMap((p, i) => [[drawn[i].step, drawn[i].high], [p.step, drawn[i].high]]);
        const lower = drawn.slice(1).flatMap((p, i) => [[drawn[i].step, p.low], [p.step, p.low]]);
        const band = [...upper, ...lower.reverse()];
        return [{ ...trace, x: band.map(([x]) => x), y: band.map(([, y]) => y) }];
      }
      if (trace.mode === "markers") return []; // made again beside the line
      const n = groups[g].filter(({ converged }) => converged).length;
      const line = {
        ...trace,
        x: drawn.map(({ step }) => step),
        y: drawn.map(({ waiting }) => waiting),
        name: `${trace.name.replace(/: [\d,]+ of [\d,]+ converged$/, "")}: ${n} of ${groups[g].length} converged`,
        hovertext: drawn.map(
          ({ step, waiting, low, high }) =>
            `${count(step)}: ${Math.round(100 * waiting)} % still to converge<br>` +
            `95 % interval ${Math.round(100 * low)} to ${Math.round(100 * high)} %`,
        ),
      };
      const marks = (x, y, marker, what) => ({
        ...{ type: "scatter", mode: "markers", x, y, meta: trace.meta, legendgroup: trace.legendgroup },
        ...{ showlegend: false, cliponaxis: false, hoverinfo: "text", hovertext: what, name: line.name },
        marker: { color: trace.line.color, ...marker },
      });
      const censored = drawn.filter(({ nCensored }) => nCensored > 0);
      const { earliest, latest } = survival.median(groups[g]);
      return [
        line,
        ...(censored.length
          ? [marks(censored.map((p) => p.step), censored.map((p) => p.waiting), { symbol: "line-ns-open", size: 13, line: { width: 2 } }, "not converged when they ended")]
          : []),
        ...(Number.isFinite(latest)
          ? [marks([(earliest + latest) / 2], [0.5], { symbol: "diamond", size: 11, line: { width: 1.5, color: "#ffffff" } }, `median: ${count(earliest)} to ${count(latest)}`)]
          : []),
      ];
    });
  }

  // The traces of a figure by the threshold chosen; its layout is changed in place.
  function applied(data, layout) {
    const { threshold } = selection.chosen;
    if (threshold === null) return data;
    const lines = (layout.shapes ?? []).filter(({ name }) => name === "threshold");
    for (const { yref, y0 } of lines.map((line) => ({ ...line })))
      for (const label of layout.annotations ?? [])
        if (label.yref === yref && label.y === y0) label.y = threshold;
    for (const line of lines) Object.assign(line, { y0: threshold, y1: threshold });
    if (layout.meta?.waiting) return redrawWaiting(data, threshold);
    return hasRows(layout) ? rerank(data, layout, threshold) : data;
  }
  const hasRows = ({ meta }) => meta?.x === "step" && meta.runs;
  const follows = (layout) =>
    Boolean(layout.meta?.waiting || hasRows(layout) || layout.shapes?.length);

  return { known, allows, crossings, bracketed, inOrder, applied, follows };
})();

// The slider.
(() => {
  const slider = document.getElementById("threshold");
  if (!slider) return;
  const { known } = thresholds;
  const [told, reset] = ["threshold-told", "threshold-reset"].map((id) => document.getElementById(id));
  const digits = Math.max(0, -Math.floor(Math.log10(known.step) + 1e-9));
  slider.addEventListener("input", () =>
    selection.pick.threshold(Number(Number(slider.value).toFixed(digits))),
  );
  reset.addEventListener("click", () => selection.pick.threshold(null));
  selection.onChange(() => {
    const { threshold } = selection.chosen;
    const value = threshold ?? known.threshold;
    slider.value = value;
    const runs = thresholds.crossings(value).filter(Boolean);
    const n = runs.filter(({ converged }) => converged).length;
    const side = known.direction === "above" ? "≥" : "≤";
    const words =
      `${known.label} ${side} ${value}: ${n} of ${runs.length} ${runs.length === 1 ? "run" : "runs"}` +
      (threshold === null ? "" : "; sentences and tables are of " + known.threshold);
    slider.setAttribute("aria-valuetext", words);
    told.textContent = words;
    reset.disabled = threshold === null;
  });
})();
