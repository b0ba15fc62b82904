// The step axis in three ways. Figures hold steps; what is drawn is worked out here.
"use strict";
const axes = (() => {
  const { runs, first_step: unit } = read("names");
  const longest = Math.max(...runs.map((run) => run.last_step));

  // Zero has a place on this scale, one unit (the first step after it) below the unit itself.
  const scales = {
    log: { place: (step) => Math.log10(1 + step / unit), what: "log scale, with 0", ticks },
    share: { place: (step, run) => step / (runs[run].last_step || 1), what: "share of the run" },
  };

  function ticks() {
    const decades = Math.log10(longest / unit);
    const marks = decades > 3 ? [1] : decades > 1.5 ? [1, 3] : [1, 2, 5];
    const steps = [0];
    for (let power = Math.floor(Math.log10(unit)); 10 ** power <= longest; power += 1)
      steps.push(...marks.map((m) => m * 10 ** power).filter((s) => s >= unit && s <= longest));
    return steps;
  }

  const runOf = ({ meta, customdata }, i) => (meta?.each === "run" ? customdata[i] : meta?.run);

  function move(trace, place) {
    const steps = [...(trace.x ?? [])];
    const at = (step, i) => place(step, runOf(trace, i));
    if (trace.type === "bar") {
      const base = trace.base ? [...trace.base] : steps.map(() => 0);
      trace.base = base.map(at);
      trace.x = steps.map((length, i) => at(base[i] + length, i) - trace.base[i]);
      return;
    }
    trace.x = steps.map(at);
    // What is pointed at still tells its step.
    if (trace.hovertemplate?.includes("%{x:,}")) {
      trace.customdata = steps;
      trace.hovertemplate = trace.hovertemplate.replace("%{x:,}", "%{customdata:,}");
    }
  }

  // What is not of one run, as a mean or a curve of a group, has no share of a run.
  const isOfRuns = (trace) => !trace.x?.length || runOf(trace, 0) !== undefined;
  const hasShare = (data) => data.some((trace) => trace.x?.length && isOfRuns(trace));

  // Changes the traces and x axes of a figure of steps from steps to the scale.
  function rescale(data, layout, name) {
    const scale = scales[name];
    if (!scale) return;
    if (name === "share")
      for (const trace of data) trace.visible = isOfRuns(trace) && (trace.visible ?? true);
    data.filter(({ visible }) => visible !== false).forEach((trace) => move(trace, scale.place));
    for (const key of Object.keys(layout).filter((k) => /^xaxis\d*$/.test(k))) {
      const axis = layout[key];
      if (axis.title?.text)
        axis.title.text = name === "share" ? scale.what : `${axis.title.text} (${scale.what})`;
      if (name === "share") Object.assign(axis, { tickformat: ".0%" });
      if (scale.ticks) {
        const steps = scale.ticks();
        axis.tickmode = "array";
        axis.tickvals = steps.map((step) => scale.place(step));
        axis.ticktext = steps.map((step) => step.toLocaleString("en-US"));
      }
    }
  }
  return { rescale, hasShare };
})();
