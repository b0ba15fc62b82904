// The bar that says what is highlighted, and lets it be chosen without a mouse.
"use strict";
(() => {
  const bar = document.getElementById("chooser");
  const [runs, group, state] = ["run", "group", "state"].map((id) =>
    document.getElementById(`choose-${id}`),
  );
  const number = (control) => (control.value === "" ? null : Number(control.value));

  runs.addEventListener("change", () =>
    selection.pick.runs(runs.value === "" ? [] : [number(runs)]),
  );
  group?.addEventListener("change", () => selection.pick.group(number(group)));
  state?.addEventListener("change", () => selection.pick.state(number(state)));
  document.getElementById("clear").addEventListener("click", selection.clear);
  document.addEventListener("keydown", (event) => {
    // In a search box, Escape empties the box.
    if (event.key === "Escape" && event.target.type !== "search") selection.clear();
  });

  function inWords({ runs: numbers, group: g, state: k, unknown }) {
    const named = numbers.slice(0, 3).map((r) => selection.runs[r].label);
    const more = numbers.length - named.length;
    const parts = [
      ...(g === null ? [] : [`group ${selection.groups[g].label}`]),
      ...(more > 0 ? [`${numbers.length} runs`] : named.map((name) => `run ${name}`)),
      ...(k === null ? [] : [selection.states[k]]),
    ];
    const lit = parts.length ? `Highlighted: ${parts.join(", ")}.` : "";
    const strange = unknown.length ? `Not in this report: ${unknown.join(", ")}.` : "";
    return [lit, strange].filter(Boolean).join(" ");
  }

  selection.onChange(() => {
    const { chosen } = selection;
    const several = chosen.runs.length > 1;
    runs.options[1].hidden = !several;
    runs.options[1].textContent = several ? `${chosen.runs.length} runs` : "";
    runs.value = several ? "several" : String(chosen.runs[0] ?? "");
    if (group) group.value = String(chosen.group ?? "");
    if (state) {
      const options = selection.states.map((name, k) => new Option(name, k));
      state.replaceChildren(state.options[0], ...options);
      state.value = String(chosen.state ?? "");
    }
    const words = inWords(chosen);
    document.getElementById("chosen").textContent = words;
    bar.classList.toggle("idle", !words);
    // Not "hidden": a button that is gone would take the focus with it.
    document.getElementById("clear").disabled = !words;
  });
  bar.hidden = false;
})();
