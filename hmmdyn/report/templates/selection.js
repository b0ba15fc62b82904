// What the reader has chosen to highlight: runs, a group, a state. The choice stands in the address
// behind "#", so that a link shows it and the browser's "back" undoes it: #map&run=seed3&state=2.
"use strict";
const read = (id) => JSON.parse(document.getElementById(id).textContent);

const selection = (() => {
  const { groups, runs, states } = read("names");
  const listeners = [];
  const nothing = { runs: [], group: null, state: null };
  let chosen = { ...nothing, section: "", unknown: [] };

  // With several groups a run is group/run; a slash within a name is encoded.
  function address({ section, group, runs: numbers, state }) {
    const name = (run) => [...(groups.length > 1 ? [groups[run.group].name] : []), run.name];
    return [
      ...(section ? [section] : []),
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
    state: (text) => (/^\d{1,6}$/.test(text) && Number(text) < states.length ? Number(text) : -1),
  };

  // An address can hold anything: what is not in this report is named as such, and no more.
  function parsed(fragment) {
    const result = { ...nothing, section: "", unknown: [] };
    const found = new Set();
    for (const part of fragment.split("&").filter(Boolean)) {
      const [, key, value] = part.match(/^(run|group|state)=(.*)$/s) ?? [];
      if (key === undefined) {
        if (document.getElementById(decoded(part))) result.section = part;
        continue;
      }
      const number = find[key](value);
      if (number < 0) result.unknown.push(`${key} ${decoded(value).slice(0, 60)}`);
      else if (key === "run") found.add(number);
      else result[key] = number;
    }
    const within = (r) => result.group === null || runs[r].group === result.group;
    return { ...result, runs: [...found].filter(within) };
  }

  function become(next) {
    chosen = next;
    listeners.forEach((listener) => listener());
  }

  function choose(change) {
    const next = { ...chosen, unknown: [], ...change };
    const fragment = address(next);
    if (fragment !== address(chosen)) {
      const page = location.href.split("#")[0];
      history.pushState(null, "", fragment ? `#${fragment}` : page);
    }
    become(next);
  }

  function readAddress() {
    become(parsed(location.hash.slice(1)));
    if (chosen.section && location.hash.includes("&"))
      document.getElementById(decoded(chosen.section)).scrollIntoView();
  }
  document.addEventListener("DOMContentLoaded", readAddress);
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
    const statesLit = new Set(lit?.flatMap((r) => runs[r].states));
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
    states,
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
