// How long runs take, seen only at evaluations: the curves of hmmdyn/dynamics/survival.py, by the
// same formulas, for whatever threshold the reader asks for.
"use strict";
const survival = (() => {
  const TAIL = 0.025;
  const [GAIN, NONE, MOST, HALF, ROUNDING] = [1e-8, 1e-6, 20_000, 1e-5, 1e-12];
  const sum = (values) => values.reduce((a, b) => a + b, 0);

  // --- the beta distribution ---

  const LANCZOS = [
    676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
  ]; // prettier-ignore
  function logGamma(x) {
    const at = LANCZOS.length - 0.5 + x - 1;
    const series = LANCZOS.reduce((s, c, i) => s + c / (x + i), 0.99999999999980993);
    return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(at) - at + Math.log(series);
  }

  // Lentz's continued fraction of the incomplete beta function, good where x is below the mean.
  function fraction(x, a, b) {
    const tiny = 1e-300;
    const kept = (value) => (Math.abs(value) < tiny ? tiny : value);
    let c = 1;
    let d = 1 / kept(1 - ((a + b) * x) / (a + 1));
    let result = d;
    for (let m = 1; m < 500; m += 1) {
      const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
      const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
      const before = result;
      for (const term of [even, odd]) {
        d = 1 / kept(1 + term * d);
        c = kept(1 + term / c);
        result *= c * d;
      }
      if (Math.abs(result / before - 1) < 1e-15) break;
    }
    return result;
  }

  function betaShare(x, a, b) {
    if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
    if (x > (a + 1) / (a + b + 2)) return 1 - betaShare(1 - x, b, a);
    const front = logGamma(a + b) - logGamma(a) - logGamma(b);
    return (Math.exp(front + a * Math.log(x) + b * Math.log1p(-x)) / a) * fraction(x, a, b);
  }

  // Of the beta variable with this mean and mean square.
  function betaQuantile(q, mean, square) {
    const variance = square - mean ** 2;
    if (variance <= ROUNDING) return mean;
    const size = (mean - square) / variance;
    let [low, high] = [0, 1];
    for (let i = 0; i < 60; i += 1) {
      const middle = (low + high) / 2;
      if (betaShare(middle, size * mean, size * (1 - mean)) < q) low = middle;
      else high = middle;
    }
    return (low + high) / 2;
  }

  // --- runs: { after, end, converged }, as in Bracketed ---

  // Limits of the shares still to converge after each step, had the runs converged at these ends.
  function limits(runs, steps) {
    const at = [...new Set([...steps, ...runs.map(({ end }) => end)])].sort((a, b) => a - b);
    const found = new Map();
    let [mean, square] = [1, 1];
    for (const step of at) {
      const atRisk = runs.filter(({ end }) => end >= step).length;
      const ended = runs.filter(({ end }) => end === step);
      const nConverged = ended.filter(({ converged }) => converged).length;
      const [a, n] = [atRisk - nConverged + 1, atRisk + 1];
      mean *= a / n;
      square *= (a * (a + 1)) / (n * (n + 1));
      const left = atRisk - ended.length;
      const low = () => betaQuantile(TAIL, (mean * left) / (left + 1), (square * left) / (left + 2));
      found.set(step, { low: low(), high: betaQuantile(1 - TAIL, mean, square) });
    }
    return steps.map((step) => found.get(step));
  }

  // The shares of runs that converge from one step to another (Turnbull 1976).
  function masses(runs) {
    const spansOfRuns = runs.map(({ after, end, converged }) => [after + 1, converged ? end : Infinity]);
    const once = (values, kind) => [...new Set(values)].map((at) => [at, kind]);
    const ends = [
      ...once(spansOfRuns.map(([first]) => first), 0),
      ...once(spansOfRuns.map(([, last]) => last), 1),
    ].sort(([a, kind], [b, other]) => (a === b ? kind - other : a < b ? -1 : 1));
    const spans = ends.flatMap(([first, kind], i) =>
      kind === 0 && ends[i + 1]?.[1] === 1 ? [[first, ends[i + 1][0]]] : [],
    );
    const within = spansOfRuns.map(([first, last]) =>
      spans.map(([from, to]) => (first <= from && to <= last ? 1 : 0)),
    );
    let share = spans.map(() => 1 / spans.length);
    for (let i = 0; i < MOST; i += 1) {
      const seen = within.map((row) => sum(row.map((is, j) => is * share[j])));
      const gain = share.map((_, j) => sum(within.map((row, r) => row[j] / seen[r])) / runs.length);
      share = share.map((value, j) => value * gain[j]);
      if (Math.max(...gain) - 1 < GAIN) break;
    }
    const kept = share.flatMap((value, j) => (value > NONE ? [j] : []));
    const total = sum(kept.map((j) => share[j]));
    return kept.map((j) => ({ first: spans[j][0], last: spans[j][1], share: share[j] / total }));
  }

  function curve(runs) {
    const known = runs.flatMap(({ after, end }) => (after >= 0 ? [after, end] : [end]));
    const steps = [...new Set([0, ...known])].sort((a, b) => a - b);
    const shares = masses(runs);
    const earliest = runs.map((run) => ({ ...run, end: run.converged ? run.after + 1 : run.end }));
    const [low, high] = [limits(earliest, steps), limits(runs, steps)];
    return steps.map((step, i) => ({
      step,
      nCensored: runs.filter(({ end, converged }) => !converged && end === step).length,
      waiting: sum(shares.filter(({ last }) => last > step).map(({ share }) => share)),
      low: low[i].low,
      high: high[i].high,
    }));
  }

  // Between which steps the median lies; infinite where it is not reached.
  function median(runs) {
    const shares = masses(runs);
    let reached = 0;
    const cumulated = shares.map(({ share }) => (reached += share));
    const first = (holds) => shares[Math.max(cumulated.findIndex(holds), 0)];
    const middle = [first((s) => s >= 0.5 - HALF), first((s) => s > 0.5 + HALF)];
    const latest = (middle[0].last + middle[1].last) / 2;
    const earliest = Number.isFinite(latest) ? (middle[0].first + middle[1].first) / 2 : Infinity;
    return { earliest, latest };
  }

  return { curve, median };
})();
