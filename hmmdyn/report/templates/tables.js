// Sorts, searches and filters the tables, and marks the rows of what is chosen.
"use strict";
(() => {
  const numbers = (text) => (text ? text.split(" ").map(Number) : undefined);
  const ofRow = ({ dataset: { run, group, states } }) => ({
    runs: numbers(run),
    group: run === undefined && group !== undefined ? Number(group) : undefined,
    states: numbers(states),
  });

  // Numbers as the page writes them: 12,300, −0.5, ∞; what is missing comes last.
  function value(text) {
    const plain = text.replaceAll(",", "").replace("−", "-").replace("∞", "Infinity");
    return plain === "–" || plain === "" ? NaN : Number(plain);
  }

  function sort(heading) {
    const table = heading.closest("table");
    const descending = heading.getAttribute("aria-sort") === "ascending";
    table.querySelectorAll("th").forEach((th) => th.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const column = heading.cellIndex;
    const sign = descending ? -1 : 1;
    const text = (row) => row.cells[column].textContent;
    const byText = new Intl.Collator("en", { numeric: true }).compare;
    const byNumber = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (Number.isNaN(x) || Number.isNaN(y)) return sign * (Number.isNaN(x) - Number.isNaN(y));
      return x === y ? 0 : x - y;
    };
    const compare = heading.classList.contains("number") ? byNumber : byText;
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => sign * compare(text(a), text(b)));
    table.tBodies[0].append(...rows);
  }

  function update(details) {
    const lit = selection.light();
    const { runs, group, state, level } = selection.chosen;
    const isShown = (row) => Number(row.dataset.level ?? levels.told) === (level ?? levels.told);
    const sought = details.querySelector("input")?.value.trim().toLowerCase() ?? "";
    const rows = [...details.querySelectorAll("tbody tr")];
    let first = null;
    for (const row of rows) {
      const what = ofRow(row);
      const ofGroup = row.dataset.group === undefined || Number(row.dataset.group) === group;
      row.hidden =
        (row.dataset.level !== undefined && !isShown(row)) ||
        (group !== null && !ofGroup) || !row.textContent.toLowerCase().includes(sought);
      const meant =
        ((runs.length && what.runs) || (state !== null && what.states && isShown(row))) && lit(what) && !row.hidden;
      row.classList.toggle("chosen", Boolean(meant));
      if (meant) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
      if (meant) first ??= row;
    }
    const n = rows.filter((row) => !row.hidden).length;
    const tally = details.querySelector(".tally");
    tally.textContent = n < rows.length ? `${n} of ${rows.length} rows match.` : "";
    if (first && details.open !== false) show(first);
  }

  // Within its box only: the page itself must not jump.
  function show(row) {
    const box = row.closest(".scroll");
    const head = row.closest("table").tHead.offsetHeight;
    const top = row.offsetTop - head;
    if (top < box.scrollTop || row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight)
      box.scrollTop = top;
  }

  function choose(cell, add) {
    const { column } = cell.closest("table").tHead.rows[0].cells[cell.cellIndex].dataset;
    const { run, group, states } = cell.parentElement.dataset;
    if (column === "group") selection.toggle.group(Number(group));
    else if (column?.endsWith("state") && states) {
      const state = Number(cell.textContent);
      const { level } = cell.parentElement.dataset;
      if (level === undefined && selection.chosen.level !== null) selection.pick.level(levels.told);
      if (!Number.isNaN(state)) selection.toggle.state(state);
    } else if (run !== undefined) selection.toggle.runs([Number(run)], add);
    else if (group !== undefined) selection.toggle.group(Number(group));
    else if (states) selection.toggle.state(Number(states.split(" ")[0]));
  }

  for (const details of document.querySelectorAll(".data")) {
    details.addEventListener("input", () => update(details));
    details.addEventListener("toggle", () => update(details));
    details.addEventListener("click", (event) => {
      const heading = event.target.closest("th");
      if (heading && event.target.closest("button")) return sort(heading);
      const cell = event.target.closest("td");
      // Who marks text to copy it chooses nothing.
      if (cell && getSelection().isCollapsed)
        choose(cell, event.shiftKey || event.ctrlKey || event.metaKey);
    });
  }
  selection.onChange(() =>
    document.querySelectorAll(".data").forEach((details) => update(details)),
  );
})();
