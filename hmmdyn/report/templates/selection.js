// What the reader has chosen to highlight: runs, a group, a state; and at which level of the zoom and
// by which threshold. The choice stands in the address behind "#", so that a link shows it and the
// browser's "back" undoes it: #map&level=5&run=seed3&state=2.
"use strict";
const read = (name) => structuredClone(unpacked.data[name]);

const selection = (() => {
  const { groups, runs, states } = read("names");
  const listeners = [];
  const nothing = { runs: [], group: null, state: null };
  const asTold = { level: null, threshold: null };
  let chosen = { ...nothing, ...asTold, section: "", unknown: [] };
  const visited = (run, level) => (level ? level.visited[run] : runs[run].states);

  // With several groups a run is group/run; a slash within a name is encoded.
  function address({ section, level, threshold, group, runs: numbers, state }) {
    const name = (run) => [...(groups.length > 1 ? [groups[run.group].name] : []), run.name];
    return [
      ...(section ? [section] : []),
      ...(level === null ? [] : [`level=${level}`]),
      ...(threshold === null ? [] : [`threshold=${threshold}`]),
      ...(group === null ? [] : [`group=${encodeURIComponent(groups[group].name)}`]),
      ...numbers.map((r) => `run=${name(runs[r]).map(encodeURIComponent).join("/")}`),
      ...(state === null ? [] : [`state=${state}`]),
    ].join("&");
  }

  function decoded(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text; // typed by hand, not encoded
    }
  }

  const find = {
    group: (text) => groups.findIndex((group) => group.name === decoded(text)),
    run(text) {
      const [run, group] = text.split("/").map(decoded).reverse();
      const within = (r) => group === undefined || groups[r.group].name === group;
      const exact = runs.findIndex((r) => r.name === run && within(r));
      return exact >= 0 ? exact : runs.findIndex((r) => r.name === decoded(text));
    },
    state: (text, level) =>
      /^\d{1,6}$/.test(text) && Number(text) < (level ?? states.length) ? Number(text) : -1,
    level: (text) => (/^\d{1,6}$/.test(text) && levels.at(Number(text)) ? Number(text) : -1),
    threshold: (text) => (/^-?\d[\d.e+-]*$/.test(text) && thresholds.allows(Number(text)) ? Number(text) : NaN),
  };

  // An address can hold anything: what is not in this report is named as such, and no more.
  function parsed(fragment) {
    const result = { ...nothing, ...asTold, section: "", unknown: [] };
    const found = new Set();
    const parts = fragment.split("&").filter(Boolean);
    // Which states there are goes with the level.
    parts.sort((a, b) => b.startsWith("level=") - a.startsWith("level="));
    for (const part of parts) {
      const [, key, value] = part.match(/^(run|group|state|level|threshold)=(.*)$/s) ?? [];
      if (key === undefined) {
        if (document.getElementById(decoded(part))) result.section = part;
        continue;
      }
      const number = find[key](value, result.level);
      if (number === -1 || Number.isNaN(number)) result.unknown.push(`${key} ${decoded(value).slice(0, 60)}`);
      else if (key === "run") found.add(number);
      else if (key === "level") result.level = number === levels.told ? null : number;
      else result[key] = number;
    }
    const within = (r) => result.group === null || runs[r].group === result.group;
    return { ...result, runs: [...found].filter(within) };
  }

  function become(next) {
    chosen = next;
    listeners.forEach((listener) => listener());
  }

  // Of a slider's many values, "back" knows the last one only.
  function choose(change, sliding = false) {
    const next = { ...chosen, unknown: [], ...change };
    const fragment = address(next);
    if (fragment !== address(chosen)) {
      const place = fragment ? `#${fragment}` : location.href.split("#")[0];
      if (sliding) history.replaceState(null, "", place);
      else history.pushState(null, "", place);
    }
    become(next);
  }

  function readAddress() {
    become(parsed(location.hash.slice(1)));
    if (chosen.section && location.hash.includes("&"))
      document.getElementById(decoded(chosen.section)).scrollIntoView();
  }
  document.addEventListener("unpacked", readAddress);
  window.addEventListener("popstate", readAddress);

  // A link to a section keeps the choice.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const section = link.hash.slice(1);
    choose({ section });
    const target = document.getElementById(section);
    target.tabIndex = -1;
    target.scrollIntoView();
    target.focus({ preventScroll: true });
  });

  // A run is not chosen together with a group that it is not in.
  const pick = {
    runs(numbers) {
      const inGroup = numbers.every((r) => runs[r].group === chosen.group);
      choose({ runs: numbers, group: inGroup ? chosen.group : null });
    },
    group(number) {
      const kept = chosen.runs.filter((r) => number === null || runs[r].group === number);
      choose({ group: number, runs: kept });
    },
    state: (number) => choose({ state: number }),
    // A state of one level is none of another.
    level: (number) => choose({ level: number === levels.told ? null : number, state: null }, true),
    threshold: (value) => choose({ threshold: value }, true),
  };

  // Choosing what is chosen already lets go of it.
  const same = (a, b) => a.length === b.length && a.every((x) => b.includes(x));
  const toggle = {
    runs(numbers, add) {
      const others = chosen.runs.filter((r) => !numbers.includes(r));
      if (add) pick.runs(others.length < chosen.runs.length ? others : [...others, ...numbers]);
      else pick.runs(same(numbers, chosen.runs) ? [] : numbers);
    },
    group: (number) => pick.group(number === chosen.group ? null : number),
    state: (number) => pick.state(number === chosen.state ? null : number),
  };

  // The runs that are lit; null where all are.
  function litRuns() {
    if (chosen.runs.length) return chosen.runs;
    if (chosen.group === null) return null;
    return runs.flatMap((run, r) => (run.group === chosen.group ? [r] : []));
  }

  // Returns a test of whether a part of the page is lit, by the numbers of its runs, group, states.
  function light() {
    const lit = litRuns();
    if (lit === null && chosen.state === null) return () => true;
    const inLit = new Set(lit);
    const groupsLit = new Set(lit?.map((r) => runs[r].group));
    const level = levels.shown();
    const statesLit = new Set(lit?.flatMap((r) => visited(r, level)));
    return ({ runs: ofRuns, group, states: ofStates }) => {
      if (chosen.state !== null && ofStates && !ofStates.includes(chosen.state)) return false;
      if (lit === null) return true;
      if (ofRuns) return ofRuns.some((r) => inLit.has(r));
      if (group !== undefined) return groupsLit.has(group);
      return !ofStates || ofStates.some((k) => statesLit.has(k));
    };
  }

  return {
    groups,
    runs,
    get states() {
      return levels.shown()?.names ?? states;
    },
    pick,
    toggle,
    light,
    clear: () => choose(nothing),
    get chosen() {
      return chosen;
    },
    onChange: (listener) => listeners.push(listener),
  };
})();
