// The list of seeds by another threshold, and its strips at another level of the zoom.
"use strict";
(() => {
  const list = document.querySelector(".ranked tbody");
  if (!list) return;
  const WIDTH = 140; // of the small pictures
  const longest = Math.max(...selection.runs.map((run) => run.last_step), 1);
  const place = (step) => Math.round((WIDTH * step) / longest);
  const told = [...list.rows];
  const head = [...list.closest("table").tHead.rows[0].cells].map((th) => th.dataset.column);
  const cell = (row, name) => row.cells[head.indexOf(name)];
  const texts = new Map(
    told.map((row) => [row, ["rank", "times", "step"].map((name) => cell(row, name)?.textContent)]),
  );
  const strips = new Map(told.map((row) => [row, row.querySelector(".strip")?.innerHTML]));
  const count = (n) => n.toLocaleString("en-US");

  // As hmmdyn/dynamics/speed.py ranks runs: evaluations may leave a range open.
  function words(r, crossed) {
    const own = crossed[r];
    if (!own) return ["–", "–", "not known"];
    const known = crossed.filter((c) => c && (c.converged || c.previous !== null));
    const step = ({ converged, step: at }) => (converged ? at : Infinity);
    const after = ({ previous }) => previous ?? -Infinity;
    const low = 1 + known.filter((c) => step(c) <= after(own)).length;
    const high = known.length - known.filter((c) => step(own) <= after(c)).length;
    const fastest = Math.min(...known.filter((c) => c.converged).map((c) => c.step));
    const times = Number((own.step / fastest).toPrecision(2));
    const isKnown = fastest > 0 && Number.isFinite(fastest) && (own.converged || own.step >= fastest);
    const by = own.previous === null ? `by ${count(own.step)}` : `${count(own.previous + 1)}–${count(own.step)}`;
    return [
      low === high ? count(low) : `${count(low)}–${count(high)}`,
      isKnown ? `${own.converged ? "" : "> "}${times} ×` : "–",
      own.converged ? by : `not by ${count(own.step)}`,
    ];
  }

  function strip(r, crossing) {
    const level = levels.shown();
    const mark = crossing?.converged ? `<path class="mark" d="M${place(crossing.step)} 0v12"/>` : "";
    const paths = level.stays[r].map(({ state, start, end }) => {
      const width = place(end) - place(start);
      return `<path fill="${level.colours[state]}" d="M${place(start)} 0h${width}v12h-${width}z"/>`;
    });
    return paths.join("") + mark;
  }

  let drawn = { level: null, threshold: null };
  selection.onChange(() => {
    const { level, threshold } = selection.chosen;
    if (level === drawn.level && threshold === drawn.threshold) return;
    drawn = { level, threshold };
    const { known } = thresholds;
    const crossed = known && thresholds.crossings(threshold ?? known.threshold);
    for (const row of told) {
      const r = Number(row.dataset.run);
      if (row.dataset.run === undefined) continue;
      const shown = threshold === null ? texts.get(row) : words(r, crossed);
      ["rank", "times", "step"].forEach((name, i) => {
        if (cell(row, name)) cell(row, name).textContent = shown[i];
      });
      const picture = row.querySelector(".strip");
      const asTold = level === null && threshold === null;
      if (picture) picture.innerHTML = asTold ? strips.get(row) : strip(r, crossed?.[r]);
    }
    if (threshold === null) return list.append(...told);
    const numbers = told.filter((row) => row.dataset.run).map((row) => Number(row.dataset.run));
    const order = thresholds.inOrder(numbers, threshold);
    const rowOf = new Map(told.map((row) => [Number(row.dataset.run), row]));
    const between = told.filter((row) => row.dataset.run === undefined);
    list.append(...order.map((r) => rowOf.get(r)), ...between);
  });
})();
